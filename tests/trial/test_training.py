"""What training processes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from strop.contract.recipe import Recipe
from strop.errors import WorkloadError
from strop.instructions.data.i06_length_bucketing import LengthBucketing
from strop.measure.host import Host
from strop.testing.models import sentences_workload
from strop.trial.reference import parse_reference
from strop.trial.training import Planned, TrainingShop, TrainingTask, training_draft

HOST = Host(cpu="a test CPU", cores=2, memory_bytes=1 << 33)


def test_a_task_survives_json_and_builds_draft_and_recipe(training_file: Path) -> None:
    recipe = Recipe([LengthBucketing(window=10)])
    task = TrainingTask(reference=parse_reference(str(training_file)), recipe=recipe.to_json(), seed=4)
    assert TrainingTask.from_json(task.to_json()) == task
    draft, again = task.build()
    assert again == recipe and draft.seed == 4 and draft.training is not None


def test_processes_are_bounded_in_memory(training_file: Path) -> None:
    shop = TrainingShop(reference=parse_reference(str(training_file)), host=HOST, seed=1)
    steps, course = shop.arm(Planned(Recipe()), "baseline"), shop.course(Recipe([LengthBucketing()]), 7)
    assert (steps.name, steps.arguments["seed"], steps.memory_limit) == ("baseline", 1, HOST.address_limit)
    assert (course.arguments["seed"], course.arguments["recipe"]) == (7, {"length_bucketing": {}})
    assert steps.target != course.target


def test_a_draft_is_refused_where_the_model_is_none() -> None:
    with pytest.raises(WorkloadError, match="gave a int"):
        training_draft(sentences_workload(model=lambda: 3), 0)
    with pytest.raises(WorkloadError, match=r"model\(\) of the workload failed: ZeroDivisionError"):
        training_draft(sentences_workload(model=lambda: 1 / 0), 0)
