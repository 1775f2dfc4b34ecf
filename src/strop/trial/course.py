"""What the process of a judged training runs: the whole course from the first step to the last, then the metric.

On its way it is looked at :data:`LOOKS` times, evenly spread over its steps: the metric on the screening split, which the
judging at the end does not touch. Looking draws no random number and its time is not the training's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from strop.contract.draft import Draft
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import DeclinedError, TrainingError
from strop.loop.evaluate import evaluate
from strop.loop.loop import TrainingLoop
from strop.loop.ranks import device
from strop.loop.state import own_random_numbers
from strop.measure.clock import monotonic_ns
from strop.measure.host import read_host
from strop.measure.reach import Look
from strop.pipeline import Outcome, train
from strop.trial.training import TrainingTask

POINT = "course"
LOOKS = 6
"""More would tell the time to a target more finely and cost more evaluations; the last one is at the end."""


class CourseTarget:
    """One whole training as one call; its process is used once."""

    def __init__(self, draft: Draft, recipe: Recipe) -> None:
        self.points = {POINT: 1}
        self._draft, self._recipe = draft, recipe
        self._score = math.nan
        self._looks: list[Look] = []

    def run(self, point: str, index: int) -> None:
        """Train from beginning to end and judge the confirming split.

        Raises:
            DeclinedError: an instruction does not fit.
            TrainingError: training was stopped, or its loss, a weight or the metric is not a finite number.
        """
        with own_random_numbers(self._draft.seed):
            done = train(self._draft, self._recipe, read_host(accelerators=True), run=self._go, device=device())
        if done.outcome in (Outcome.DECLINED, Outcome.LACKS_DEPENDENCY):
            raise DeclinedError(done.reason)

    def digest(self, point: str, index: int) -> str:
        """Return the score's digits: a training is too long to be repeated for its answers."""
        return self._score.hex()

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Return the shape of the score."""
        return [[]]

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``told``: the ``score``, which is the metric after training, and the ``looks`` taken on the way."""
        if method != "told":
            raise ValueError(f"a whole training has no method {method!r}")
        return {"score": self._score, "looks": [look.to_json() for look in self._looks]}

    def close(self) -> None:
        """Nothing is held."""

    def _go(self, loop: TrainingLoop) -> None:
        workload = self._draft.workload
        assert isinstance(workload, TrainingWorkload)
        self._go_on(loop, workload)
        if loop.stopped:
            raise TrainingError(f"training was stopped after {loop.step} steps: {loop.stopped}")
        weights = (value for value in loop.model.state_dict().values() if value.is_floating_point())
        if not math.isfinite(float(loop.step_loss)) or not all(bool(torch.isfinite(value).all()) for value in weights):
            raise TrainingError(f"training diverged: after {loop.step} steps the loss or a weight is not a finite number")
        self._score = evaluate(loop, workload.metric, workload.confirming)
        if not math.isfinite(self._score):
            raise TrainingError(f"{workload.metric.name} is {self._score:g} after training")

    def _go_on(self, loop: TrainingLoop, workload: TrainingWorkload) -> None:
        """Train to the end, and look on the way."""
        losses: list[tuple[float, int]] = []
        loop.training.on(LoopEvent.STEP_END, lambda at: losses.append((float(at.step_loss), len(at.samples))))
        seconds = 0.0
        for goal in looking_steps(loop.total):
            begun, seen = monotonic_ns(), len(losses)
            loop.run(goal - loop.step)
            seconds += (monotonic_ns() - begun) / 1e9
            if loop.stopped or len(losses) == seen:  # the batches that a roll-back left out make it end sooner
                return
            loss = sum(value * count for value, count in losses[seen:]) / sum(count for _, count in losses[seen:])
            judged = not workload.metric.unjudged and len(workload.screening.inputs)
            metric = evaluate(loop, workload.metric, workload.screening) if judged else None
            self._looks.append(Look(step=loop.step, seconds=seconds, loss=loss, metric=metric))


def looking_steps(total: int) -> list[int]:
    """Return the steps after which a training of ``total`` steps is looked at."""
    return sorted({math.ceil(total * part / LOOKS) for part in range(1, LOOKS + 1)})


def open_course(arguments: Mapping[str, Any]) -> CourseTarget:
    """Build the workload's training for the seed in ``arguments`` (:class:`strop.trial.training.TrainingTask`)."""
    return CourseTarget(*TrainingTask.from_json(arguments).build())
