"""The live view of a run: progress against the time budget, the current step, the best so far, a line per trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from strop.observe.events import Event, Level
from strop.units import show_seconds, show_speedup

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.text import Text

GOOD = frozenset({"kept", "faster", "smaller", "better", "protected"})
BAD = frozenset({"slower", "invalid", "wrong", "worse quality", "failed to prepare", "failed to run"})

ENDS = frozenset({"run.finished", "run.interrupted"})


class ConsoleSink:
    """Show events to a person. On a terminal a progress bar stays at the bottom; elsewhere plain lines are written.

    Between ``measuring.started`` and ``measuring.ended`` nothing is drawn, because drawing takes processor time from
    what is being timed; what arrives meanwhile is shown afterwards. ``NO_COLOR`` is honoured. Events it reads:

    ========================  =====================================================================================
    ``run.started``           ``data["budget"]``: seconds, or ``None``; ``data["elapsed"]``: seconds used by earlier sittings
    ``trial.judged``          ``data["row"]``: ``id``, ``recipe``, ``status``, ``reason``, ``speedup`` (an interval with
                              ``low``, ``estimate``, ``high``, or ``None``)
    ``best.changed``          ``text``: the best recipe so far
    ``run.finished``          the bar is taken down; likewise by ``run.interrupted``
    ``measuring.*``           silence, see above; may be nested
    anything else             ``text`` becomes the current step; results and warnings are also kept as lines
    ========================  =====================================================================================

    Args:
        stream: where to write; default: standard error, so that standard output stays free for results.
        width: columns; default: the terminal's.
        clock: seconds, for the time left.
    """

    def __init__(
        self, stream: IO[str] | None = None, *, width: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console

        self._console = Console(file=stream, stderr=stream is None, width=width, highlight=False)
        self._clock = clock
        self._bar: _Bar | None = None
        self._quiet = 0
        self._waiting: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Show one event, or keep it until measuring has ended."""
        if event.name == "measuring.started":
            self._quiet += 1
        elif event.name == "measuring.ended":
            self._quiet = max(0, self._quiet - 1)
            if not self._quiet:
                waiting, self._waiting = self._waiting, []
                for late in waiting:
                    self._show(late)
        elif self._quiet and event.name not in ENDS:
            self._waiting.append(event)
        else:
            self._show(event)

    def close(self) -> None:
        """Show what is still waiting and take the bar down; safe to call twice, and after an interrupt."""
        self._quiet = 0
        waiting, self._waiting = self._waiting, []
        for late in waiting:
            self._show(late)
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, event: Event) -> None:
        if event.name == "run.started":
            self._start(event)
        elif event.name == "trial.judged":
            self._print(trial_line(_mapping(event.data.get("row"))))
        elif event.name in ENDS:
            self.close()
        elif event.name == "best.changed" and self._bar is not None:
            self._bar.best = event.text
        elif self._bar is not None:
            self._bar.step = event.text or event.name
        if event.text and event.name != "trial.judged" and (self._bar is None or event.level in (Level.RESULT, Level.WARNING)):
            self._line(event)
        if self._bar is not None:
            self._bar.draw(self._clock())

    def _start(self, event: Event) -> None:
        budget = event.data.get("budget")
        if self._console.is_terminal and isinstance(budget, int | float) and budget > 0:
            elapsed = event.data.get("elapsed")
            used = float(elapsed) if isinstance(elapsed, int | float) else 0.0
            self._bar = _Bar(self._console, float(budget), self._clock() - used)

    def _line(self, event: Event) -> None:
        from rich.text import Text

        if event.level is Level.DETAIL:
            return
        style = {Level.WARNING: "yellow", Level.RESULT: "bold"}.get(event.level, "dim")
        mark = "warning: " if event.level is Level.WARNING else ""
        self._print(Text(f"{mark}{event.text}", style=style))

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=not self._console.is_terminal)


class _Bar:
    """The progress bar; it never redraws by itself, so no thread runs beside a timed block."""

    def __init__(self, console: Console, budget: float, now: float) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.step, self.best = "", ""
        self._budget, self._start = budget, now
        columns = (BarColumn(bar_width=24), TextColumn("{task.fields[left]}"), TextColumn("{task.fields[note]}", markup=False))
        self._progress: Progress = Progress(
            *columns, console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task: TaskID = self._progress.add_task("", total=budget, left="", note="")
        self._progress.start()

    def draw(self, now: float) -> None:
        """Draw the bar once."""
        used = now - self._start
        left = f"{show_seconds(self._budget - used)} left" if used < self._budget else "finishing"
        note = self.step + (f"  ·  best so far: {self.best}" if self.best else "")
        self._progress.update(self._task, completed=min(used, self._budget), left=left, note=note)
        self._progress.refresh()

    def stop(self) -> None:
        """Take the bar down."""
        self._progress.stop()


def trial_line(row: Mapping[str, Any]) -> Text:
    """Return the line of one trial: id, status, screening ratio (greyed: it is no result), recipe, reason."""
    from rich.text import Text

    status = str(row.get("status", ""))
    good, bad = status in GOOD, status in BAD
    line = Text()
    line.append(f"  {row.get('id', '')!s:<5}", style="dim")
    line.append(f"{'✓' if good else '✗' if bad else '–'} {status:<19}", style="green" if good else "red" if bad else "")
    interval = _mapping(row.get("speedup"))
    ratio = show_speedup(interval["low"], interval["estimate"], interval["high"]) if interval else ""
    line.append(f" {ratio + ' screen only' if ratio else '':<33}", style="dim")
    line.append(f" {row.get('recipe', '')}")
    if row.get("reason"):
        line.append(f"  ({row['reason']})", style="dim")
    return line


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
