"""What the process of a judged training runs: the whole course from the first step to the last, then the metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import DeclinedError, TrainingError
from strop.loop.evaluate import evaluate
from strop.loop.loop import TrainingLoop
from strop.loop.state import own_random_numbers
from strop.measure.host import read_host
from strop.pipeline import Outcome, train
from strop.trial.training import TrainingTask

POINT = "course"


class CourseTarget:
    """One whole training as one call; its process is used once."""

    def __init__(self, draft: Draft, recipe: Recipe) -> None:
        self.points = {POINT: 1}
        self._draft, self._recipe = draft, recipe
        self._score = math.nan

    def run(self, point: str, index: int) -> None:
        """Train from beginning to end and judge the confirming split.

        Raises:
            DeclinedError: an instruction does not fit.
            TrainingError: training was stopped, or its loss, a weight or the metric is not a finite number.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with own_random_numbers(self._draft.seed):
            done = train(self._draft, self._recipe, read_host(accelerators=True), run=self._go, device=device)
        if done.outcome in (Outcome.DECLINED, Outcome.LACKS_DEPENDENCY):
            raise DeclinedError(done.reason)

    def digest(self, point: str, index: int) -> str:
        """Return the score's digits: a training is too long to be repeated for its answers."""
        return self._score.hex()

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Return the shape of the score."""
        return [[]]

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``score``: the metric after training."""
        if method != "score":
            raise ValueError(f"a whole training has no method {method!r}")
        return self._score

    def close(self) -> None:
        """Nothing is held."""

    def _go(self, loop: TrainingLoop) -> None:
        workload = self._draft.workload
        assert isinstance(workload, TrainingWorkload)
        loop.run()
        if loop.stopped:
            raise TrainingError(f"training was stopped after {loop.step} steps: {loop.stopped}")
        weights = (value for value in loop.model.state_dict().values() if value.is_floating_point())
        if not math.isfinite(float(loop.step_loss)) or not all(bool(torch.isfinite(value).all()) for value in weights):
            raise TrainingError(f"training diverged: after {loop.step} steps the loss or a weight is not a finite number")
        self._score = evaluate(loop, workload.metric, workload.confirming)
        if not math.isfinite(self._score):
            raise TrainingError(f"{workload.metric.name} is {self._score:g} after training")


def open_course(arguments: Mapping[str, Any]) -> CourseTarget:
    """Build the workload's training for the seed in ``arguments`` (:class:`strop.trial.training.TrainingTask`)."""
    return CourseTarget(*TrainingTask.from_json(arguments).build())
