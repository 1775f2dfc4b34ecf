"""What a training leaves behind while it runs: a row per step, checkpoints now and then, and a way to be interrupted."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Loop, Training
from strop.errors import UsageError
from strop.loop.checkpoint import Checkpoints
from strop.observe import Event, Level, Observer
from strop.report.training import StepRow
from strop.units import Seconds, parse_seconds

TELL_EVERY: Seconds = 0.5
"""Rows are told together this often: reading a loss back waits for an accelerator."""


@dataclass(frozen=True, slots=True)
class Interval:
    """How often to save: after so many steps, or after so much time; the other one is ``None``."""

    steps: int | None
    seconds: Seconds | None

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read ``"500"`` (steps) or a duration such as ``"5m"``.

        Raises:
            UsageError: the text is neither, or not positive.
        """
        if text.strip().isdecimal():
            if int(text) == 0:
                raise UsageError("checkpoints every 0 steps cannot be; give a number of steps or a duration such as 5m.")
            return cls(int(text), None)
        try:
            return cls(None, parse_seconds(text))
        except UsageError as error:
            raise UsageError(f"a number of steps or a duration was expected, for instance 500 or 5m; got {text!r}") from error


class StepRecord:
    """Follows a loop: tells its steps, saves it, and stops it when asked.

    Args:
        observer: told each step as ``train.step``.
        checkpoints: where to save; ``None``: nowhere.
        interval: how often to save.
        clock: seconds.
    """

    def __init__(
        self,
        observer: Observer,
        checkpoints: Checkpoints | None,
        interval: Interval,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.rows: list[StepRow] = []
        self._observer, self._checkpoints, self._interval, self._clock = observer, checkpoints, interval, clock
        self._waiting: list[dict[str, Any]] = []
        self._begin = self._told = self._saved = clock()
        self._fetching: Seconds | None = None
        self._saved_step = -1
        self._rate = float("nan")

    def follow(self, training: Training) -> None:
        """Add the handlers."""
        training.on(LoopEvent.BATCH, self._on_batch)
        training.on(LoopEvent.MICRO_START, self._on_micro_start)
        training.handlers.insert(0, (LoopEvent.STEP_END, self._on_step_end))  # closing: first in, last out, after all changes
        training.on(LoopEvent.FIT_END, lambda loop: self.tell())

    def save(self, loop: Loop) -> None:
        """Save now, unless this step is saved already."""
        if self._checkpoints is None or self._saved_step == loop.step:
            return
        self.tell()
        self._checkpoints.save(loop.step, loop.state_dict())
        self._saved_step, self._saved = loop.step, self._clock()

    def tell(self) -> None:
        """Tell the rows that are waiting."""
        for facts in self._waiting:
            read: dict[str, Any] = {name: value.item() if isinstance(value, Tensor) else value for name, value in facts.items()}
            row = StepRow(**read)
            self.rows.append(row)
            self._observer(Event("train.step", level=Level.DETAIL, data=asdict(row)))
        self._waiting, self._told = [], self._clock()

    def _on_batch(self, loop: Loop) -> None:
        self._begin, self._fetching = self._clock(), None
        self._rate = float(loop.optimizer.param_groups[0]["lr"])

    def _on_micro_start(self, loop: Loop) -> None:
        if self._fetching is None:  # the first of the step; all of its samples are there by then
            self._fetching = self._clock() - self._begin

    def _on_step_end(self, loop: Loop) -> None:
        now = self._clock()
        self._waiting.append(
            {
                "step": loop.step,
                "epoch": loop.epoch + 1,
                "loss": loop.step_loss,
                "rate": self._rate,
                "samples": len(loop.samples) * loop.training.world,
                "seconds": now - self._begin,
                "waiting": self._fetching or 0.0,
                "taken": loop.taken,
                "norm": loop.norm,
            }
        )
        if now - self._told >= TELL_EVERY:
            self.tell()
        due = self._interval.steps is not None and loop.step % self._interval.steps == 0
        if due or (self._interval.seconds is not None and now - self._saved >= self._interval.seconds):
            self.save(loop)


def rows_until(step: int, events: Path) -> list[StepRow]:
    """Read the rows of earlier sittings up to ``step``; of a step done twice, the later."""
    found: dict[int, StepRow] = {}
    for line in events.read_text(encoding="utf-8").splitlines() if events.exists() else ():
        facts = json.loads(line)
        if facts.get("name") == "train.step" and facts["step"] <= step:
            found[facts["step"]] = StepRow(**{name: facts[name] for name in StepRow.__dataclass_fields__ if name in facts})
    return [found[number] for number in sorted(found)]


@contextlib.contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first interrupt finish the step and save it, by calling ``stop``; the second ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def handle(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
