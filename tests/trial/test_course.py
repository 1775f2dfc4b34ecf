"""A whole training in a process of its own gives what ``strop.train`` gives, and says why where it gives nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import strop
from strop.contract.recipe import Recipe
from strop.errors import DeclinedError, TrainingError
from strop.instructions.data.i06_length_bucketing import LengthBucketing
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.testing.models import training_draft
from strop.trial.course import POINT, CourseTarget, open_course
from strop.trial.reference import parse_reference
from strop.trial.training import TrainingTask


def course(*instructions: Any, **changes: Any) -> CourseTarget:
    return CourseTarget(training_draft(**changes), Recipe(instructions))


@pytest.mark.parametrize("seed", [0, 3])
def test_its_score_is_that_of_the_real_training(seed: int, training_file: Path, tmp_path: Path) -> None:
    recipe = Recipe([LengthBucketing()])
    real = strop.train(training_file, recipe=recipe, seed=seed, out=tmp_path / "run")
    task = TrainingTask(reference=parse_reference(str(training_file)), recipe=recipe.to_json(), seed=seed)
    target = open_course(task.to_json())
    target.run(POINT, 0)
    assert target.call("score", {}) == real.report.after
    assert target.digest(POINT, 0) == float(target.call("score", {})).hex() and target.shapes(POINT, 0) == [[]]
    target.close()


def test_divergence_a_stop_and_a_missing_metric_are_errors() -> None:
    diverging = course(optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=1e30))
    with pytest.raises(TrainingError, match="diverged: after 6 steps"):
        diverging.run(POINT, 0)
    with pytest.raises(TrainingError, match="nothing is nan after training"):
        course(metric=strop.corpus_metric(lambda answers, labels: float("nan"), name="nothing")).run(POINT, 0)
    with pytest.raises(DeclinedError, match="a single process was started"):
        course(DistributedDataParallel()).run(POINT, 0)
    with pytest.raises(ValueError, match="no method"):
        diverging.call("fly", {})
