"""The loop over epochs and batches, which can stop after any step and go on from there."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Self

from torch import nn

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Samples, Training
from strop.loop.state import own_random_numbers
from strop.loop.step import Stepper, one_after_another


class TrainingLoop(Stepper):
    """One training, to be used as a context.

    ::

        with TrainingLoop(model, training, seed=0) as loop:
            loop.run(10)        # ten steps from here
            loop.run()          # the rest

    Inside the context random numbers are the training's own; on leaving it FIT_END comes, whatever happened, and the
    process's random numbers and the model's mode are as before.

    Args:
        model: trained in place.
        training: what to do.
        seed: of all random numbers; ranks draw different ones.
        device: as torch writes it.
    """

    def __init__(self, model: nn.Module, training: Training, *, seed: int, device: str = "cpu") -> None:
        super().__init__(model, training, device)
        self._seed = seed
        self._left_out: set[tuple[int, int]] = set()
        self._plan: tuple[int, list[Samples]] = (-1, [])
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(own_random_numbers(self._seed + self.training.rank))
            stack.callback(self.model.train, self.model.training)
            stack.callback(self.fire, LoopEvent.FIT_END)
            self.model.train()
            self.prepare(self._planned())
            self.fire(LoopEvent.FIT_START)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def run(self, steps: int | None = None) -> None:
        """Take ``steps`` optimizer steps from here, or all that are left; fewer when training ends or is stopped before."""
        goal = self.total if steps is None else min(self.total, self.step + steps)
        self._end_epoch()
        while self.step < goal and self.epoch < self.training.epochs and not self.stopped:
            if self.place == 0:
                self.fire(LoopEvent.EPOCH_START)
            if (self.epoch, self.place) in self._left_out:
                self.place += 1
            else:
                self.take(self._batches()[self.place])
            self._end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training goes on, the place in the data included."""
        place = {"step": self.step, "epoch": self.epoch, "place": self.place, "left_out": sorted(self._left_out)}
        return {**super().state_dict(), "place": place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as from ``state``; what a roll-back left out since then stays left out."""
        super().load_state_dict(state)
        place = state["place"]
        self.step, self.epoch, self.place = place["step"], place["epoch"], place["place"]
        self._left_out |= {(epoch, number) for epoch, number in place["left_out"]}

    def roll_back(self, state: dict[str, Any]) -> None:
        """Abandon this step, return to ``state`` after GRADS_READY, and never meet this step's batch again."""
        super().roll_back(state)
        self._left_out.add((self.epoch, self.place))

    def take(self, samples: Samples) -> None:
        """Take one optimizer step on these samples, wherever training stands."""
        self.samples = samples
        self.fire(LoopEvent.BATCH)
        micros = self.micros(self.samples)
        self.clear()
        (self.training.driver or one_after_another)(self, micros)
        self.finish()
        if self._return_to is None:
            self.step, self.place = self.step + 1, self.place + 1
            self.fire(LoopEvent.STEP_END)

    def _batches(self) -> list[Samples]:
        if self._plan[0] != self.epoch:
            self._plan = (self.epoch, list(self.training.batches(self.epoch)))
        return self._plan[1]

    def _end_epoch(self) -> None:
        if self.epoch < self.training.epochs and self.place >= len(self._batches()):
            self.fire(LoopEvent.EPOCH_END)
            self.epoch, self.place = self.epoch + 1, 0

    def _planned(self) -> int:
        training = self.training
        if training.steps is not None and training.steps <= training.epochs * len(training.batches(0)) // 2:
            return training.steps  # far from the end, so that the other epochs need not be drawn up to count them
        count = sum(len(training.batches(epoch)) for epoch in range(training.epochs))
        return count if training.steps is None else min(count, training.steps)
