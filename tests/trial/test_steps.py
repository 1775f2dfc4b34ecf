"""Sweeps of optimizer steps: they stand for the whole epoch, both arms meet the same places, and what fails says so."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from strop.contract.draft import Draft
from strop.contract.loop_event import LoopEvent
from strop.contract.workload import TrainingWorkload
from strop.errors import DeclinedError, NoEffectError, TrainingError
from strop.instructions.data.i06_length_bucketing import LengthBucketing
from strop.loop.loop import TrainingLoop
from strop.loop.state import copied
from strop.pipeline import Outcome, Preparation
from strop.testing.models import training_draft
from strop.trial.reference import parse_reference
from strop.trial.steps import POINT, STEPS, SWEEPS, StepsTarget, by_size, open_steps, sweep
from strop.trial.training import TrainingTask


def target(draft: Draft, outcome: Outcome = Outcome.PREPARED) -> StepsTarget:
    workload, training = draft.workload, draft.training
    assert isinstance(workload, TrainingWorkload) and training is not None
    stack = contextlib.ExitStack()
    loop = stack.enter_context(TrainingLoop(draft.model, training, seed=0))
    return StepsTarget(loop, workload, by_size(training, workload), lambda: Preparation(outcome=outcome, reason="told so"), stack)


def weights(draft: Draft) -> list[torch.Tensor]:
    return [p.detach().clone() for p in draft.model.parameters()]


@pytest.mark.parametrize("available", [1, 3, 4, 25, 75, 1000])
def test_a_sweep_has_one_batch_of_each_quarter(available: int) -> None:
    for index in range(SWEEPS):
        places = sweep(index, available)
        assert len(places) == STEPS and all(0 <= place < available for place in places)
        if available % STEPS == 0:
            assert [place * STEPS // available for place in places] == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [lambda x: 1 + 3 * x, lambda x: 1 + 3 * x**2, lambda x: 4 / (1 + 3 * (1 - x))])
def test_sweeps_stand_for_the_epoch_where_sizes_differ_by_four(shape: Any) -> None:
    costs = [shape((n + 0.5) / 200) for n in range(200)]
    mean = sum(costs) / len(costs)
    sweeps = [sum(costs[place] for place in sweep(index, 200)) / STEPS / mean for index in range(SWEEPS)]
    assert abs(sum(sweeps) / SWEEPS - 1) < 0.003  # no bias
    spread = math.sqrt(sum((cost - 1) ** 2 for cost in sweeps) / SWEEPS)
    assert spread < 0.05 and spread**2 / 2 < 0.002  # the latter is what the mean of logarithms departs from that of times by


def test_a_slope_costs_the_same_in_every_sweep() -> None:
    totals = {sum(sweep(index, 64 * STEPS)) for index in range(SWEEPS)}
    assert max(totals) - min(totals) <= STEPS  # what rounding to whole batches leaves


def test_batches_come_smallest_first_and_short_ones_are_left_out() -> None:
    draft = training_draft(batch_size=7)  # 24 samples: three batches of 7 and one of 3 in each epoch
    assert draft.training is not None and isinstance(draft.workload, TrainingWorkload)
    batches = by_size(draft.training, draft.workload)
    longest = [max(len(draft.workload.data[n][0]) for n in batch) for batch in batches]
    assert len(batches) == 2 * 3 and {len(batch) for batch in batches} == {7}
    assert longest == sorted(longest) and longest[0] < longest[-1]


def test_batches_of_another_size_are_declined_and_not_compared() -> None:
    from strop.contract.tally import Tally

    draft = training_draft()
    LengthBucketing(max_batch_size=3).at_data(draft, Tally())
    assert draft.training is not None and isinstance(draft.workload, TrainingWorkload)
    with pytest.raises(DeclinedError, match="another number of samples than batch_size=8"):
        by_size(draft.training, draft.workload)


def test_a_call_takes_steps_and_training_begins_anew_at_its_end() -> None:
    draft = training_draft()  # six steps
    start = weights(draft)
    arm = target(draft)
    seen: list[int] = []
    assert draft.training is not None
    draft.training.on(LoopEvent.STEP_END, lambda loop: seen.append(loop.step))
    arm.run(POINT, 0)
    assert seen == [1, 2, 3, 4] and not all(torch.equal(a, b) for a, b in zip(start, weights(draft), strict=True))
    first = weights(draft)
    arm.run(POINT, 1)
    assert seen == [1, 2, 3, 4, 5, 6, 1, 2]
    arm.run(POINT, 2)
    arm.run(POINT, 0)
    assert seen[8:] == [3, 4, 5, 6, 1, 2, 3, 4]
    assert all(torch.equal(a, b) for a, b in zip(first, weights(draft), strict=True))  # the same steps from the same start
    arm.close()


def test_sizes_are_met_from_the_smallest_to_the_largest_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    draft = training_draft()
    arm, taken = target(draft), list[int]()
    before = copied(arm._loop.state_dict())
    assert draft.training is not None
    draft.training.on(LoopEvent.STEP_END, lambda loop: taken.append(arm._batches.index(loop.samples)))
    arm.meet_sizes()
    assert taken == [0, 1, 2, 3, 4, 5]
    assert states(before) == states(arm._loop.state_dict())
    monkeypatch.setattr("strop.trial.steps.MOST_MET", 3)
    arm.meet_sizes()
    assert taken[6:] == [1, 3, 5]


def states(state: Any) -> str:
    return repr(tree_map(lambda leaf: leaf.tolist() if isinstance(leaf, torch.Tensor | np.ndarray) else leaf, state))


def test_what_goes_wrong_in_a_step_is_an_error_of_the_arm() -> None:
    with pytest.raises(TrainingError, match="the loss is nan after 4 steps"):
        target(training_draft(loss=lambda outputs, batch: outputs.mean() * float("nan"))).run(POINT, 0)
    draft = training_draft()
    arm = target(draft)
    assert draft.training is not None
    draft.training.on(LoopEvent.GRADS_READY, lambda loop: loop.stop("planted"))
    with pytest.raises(TrainingError, match="training stopped after 1 steps: planted"):
        arm.run(POINT, 0)


def test_a_recipe_without_effect_is_told_after_the_first_sweep_only() -> None:
    arm = target(training_draft(), Outcome.NO_EFFECT)
    with pytest.raises(NoEffectError, match="told so"):
        arm.run(POINT, 0)
    assert arm.call("told", {})["outcome"] == "no effect"


def test_what_else_a_target_must_answer() -> None:
    arm = target(training_draft())
    assert arm.points == {POINT: SWEEPS}
    assert arm.shapes(POINT, 0) == [[8, 3]]
    assert arm.digest(POINT, 0) == arm.digest(POINT, 0)
    before = arm.digest(POINT, 5)
    arm.run(POINT, 0)
    assert arm.digest(POINT, 5) != before
    size = arm.call("size", {})
    assert (size["steps"], size["samples"]) == (6, 8) and size["judging"] > 0
    assert arm.call("tensor_peak", {}) > 1000
    with pytest.raises(ValueError, match="no method 'fly'"):
        arm.call("fly", {})


def test_an_arm_builds_the_training_it_is_told_and_declines_at_loading(training_file: Path) -> None:
    reference = parse_reference(str(training_file))
    task = TrainingTask(reference=reference, recipe={"length_bucketing": {}}, seed=0)
    arm = open_steps(task.to_json())
    arm.run(POINT, 0)
    assert arm.call("told", {})["tallies"]["length_bucketing"]["padding tokens saved per epoch"] > 0
    arm.close()
    alone = TrainingTask(reference=reference, recipe={"distributed_data_parallel": {}}, seed=0)
    with pytest.raises(DeclinedError, match="distributed_data_parallel: a single process was started"):
        open_steps(alone.to_json())
