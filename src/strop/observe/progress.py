"""The live view of a training: steps done, loss, speed and time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO, Any

from strop.observe.events import Event, Level
from strop.units import show_number, show_rate, show_seconds


class ProgressSink:
    """Show a training to a person. On a terminal a bar stays at the bottom; elsewhere a line is written now and then.

    It reads ``train.started`` (``data["total"]``, ``data["step"]``: steps planned, and done by earlier sittings),
    ``train.step`` (``data``: ``step``, ``loss``, ``samples``, ``seconds``) and ``run.finished`` or ``run.interrupted``;
    the text of every other event that matters is written as a line.

    Args:
        stream: where to write; default: standard error.
        width: columns; default: the terminal's.
        clock: seconds.
        every: seconds between two lines where there is no terminal.
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        *,
        width: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        every: float = 10.0,
    ) -> None:
        from rich.console import Console

        self._console = Console(file=stream, stderr=stream is None, width=width, highlight=False)
        self._clock, self._every = clock, every
        self._bar: Any = None
        self._total, self._first, self._start, self._told = 0, 0, 0.0, 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.name == "train.started":
            self._begin(int(_number(event, "total")), int(_number(event, "step")))
        elif event.name == "train.step":
            self._step(event)
        elif event.name in ("run.finished", "run.interrupted"):
            self.close()
        if event.text and event.level is not Level.DETAIL:
            style = {Level.WARNING: "yellow", Level.RESULT: "bold"}.get(event.level, "dim")
            mark = "warning: " if event.level is Level.WARNING else ""
            self._console.print(f"{mark}{event.text}", style=style, markup=False, soft_wrap=not self._console.is_terminal)

    def close(self) -> None:
        """Take the bar down; safe to call twice."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, total: int, step: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._total, self._first, self._start = total, step, self._clock()
        self._told = self._start
        if self._console.is_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
            self._bar.add_task("", total=total, completed=step)
            self._bar.start()

    def _step(self, event: Event) -> None:
        now, step = self._clock(), int(_number(event, "step"))
        spent, done = now - self._start, step - self._first
        left = f"{show_seconds(spent / done * (self._total - step))} left" if done > 0 and step < self._total else "finishing"
        speed = show_rate(_number(event, "samples") / max(_number(event, "seconds"), 1e-9), "samples/s")
        words = f"step {step} of {self._total}  ·  {left}  ·  loss {show_number(_number(event, 'loss'))}  ·  {speed}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, description=words)
            self._bar.refresh()
        elif now - self._told >= self._every:
            self._told = now
            self._console.print(words, markup=False, soft_wrap=True)


def _number(event: Event, name: str) -> float:
    value = event.data.get(name)
    return float(value) if isinstance(value, int | float) else float("nan")
