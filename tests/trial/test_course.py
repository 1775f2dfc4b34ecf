"""A whole training in a process of its own gives what ``strop.train`` gives, and says why where it gives nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import strop
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.errors import DeclinedError, TrainingError
from strop.instructions.data.i06_length_bucketing import LengthBucketing
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.loop.evaluate import evaluate
from strop.measure.host import Host
from strop.measure.reach import Look
from strop.pipeline import train
from strop.testing.models import sentences_workload, training_draft
from strop.trial.course import POINT, CourseTarget, looking_steps, open_course
from strop.trial.reference import parse_reference
from strop.trial.training import TrainingTask

HOST = Host(cpu="test", cores=2)


def course(*instructions: Any, **changes: Any) -> CourseTarget:
    return CourseTarget(training_draft(**changes), Recipe(instructions))


@pytest.mark.parametrize("seed", [0, 3])
def test_its_score_is_that_of_the_real_training(seed: int, training_file: Path, tmp_path: Path) -> None:
    recipe = Recipe([LengthBucketing()])
    real = strop.train(training_file, recipe=recipe, seed=seed, out=tmp_path / "run")
    task = TrainingTask(reference=parse_reference(str(training_file)), recipe=recipe.to_json(), seed=seed)
    target = open_course(task.to_json())
    target.run(POINT, 0)
    told = target.call("told", {})
    assert told["score"] == real.report.after
    assert target.digest(POINT, 0) == float(told["score"]).hex() and target.shapes(POINT, 0) == [[]]
    assert [look["step"] for look in told["looks"]] == [1, 2, 3, 4, 5, 6]
    target.close()


def test_it_is_looked_at_on_its_way_without_being_led_astray_and_looking_costs_no_time_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0]

    def evaluated(*arguments: Any) -> float:
        clock[0] += 10**12
        return evaluate(*arguments)

    monkeypatch.setattr("strop.trial.course.evaluate", evaluated)
    monkeypatch.setattr("strop.trial.course.monotonic_ns", lambda: clock[0])
    losses: list[float] = []
    split = sentences_workload().confirming
    target = course(steps=5, screening=split)
    draft = target._draft
    assert draft.training is not None
    draft.training.on(LoopEvent.BATCH, lambda loop: clock.__setitem__(0, clock[0] + 10**9))  # a second a step
    draft.training.on(LoopEvent.STEP_END, lambda loop: losses.append(float(loop.step_loss)))
    target.run(POINT, 0)
    looks = [Look.from_json(row) for row in target.call("told", {})["looks"]]
    assert [(look.step, look.seconds) for look in looks] == [(n, float(n)) for n in (1, 2, 3, 4, 5)]
    assert [look.loss for look in looks] == losses and len({look.metric for look in looks}) > 1
    assert looks[-1].metric == target.call("told", {})["score"]  # the same split, and nothing was trained after it
    alone: list[float] = []
    plain = training_draft(steps=5)
    assert plain.training is not None
    plain.training.on(LoopEvent.STEP_END, lambda loop: alone.append(float(loop.step_loss)))
    train(plain, Recipe(), HOST)
    assert losses == alone


def test_looks_are_spread_evenly_and_the_last_is_at_the_end() -> None:
    assert looking_steps(60) == [10, 20, 30, 40, 50, 60] and looking_steps(2) == [1, 2]
    assert [looking_steps(n)[-1] for n in (1, 7, 75)] == [1, 7, 75]


def test_without_a_screening_split_only_the_loss_is_noted() -> None:
    target = course(steps=3)
    target.run(POINT, 0)
    assert {look["metric"] for look in target.call("told", {})["looks"]} == {None}


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
