"""What a draft says about its training is plain data with two lists to add to."""

from __future__ import annotations

import pytest

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Loop, Training
from strop.loop.intents import training_of
from strop.testing.models import sentences_workload


def training() -> Training:
    return training_of(sentences_workload(), 0)


def test_handlers_stay_in_the_order_added_and_parts_are_kept_by_name() -> None:
    plan, calls = training(), []
    plan.on(LoopEvent.STEP_END, lambda loop: calls.append(1))
    plan.on(LoopEvent.BATCH, lambda loop: calls.append(2))
    plan.keep("part", plan.optimizer(sentences_workload().model()))
    assert [event for event, _ in plan.handlers] == [LoopEvent.STEP_END, LoopEvent.BATCH]
    assert list(plan.kept) == ["part"]


def test_each_training_has_lists_of_its_own() -> None:
    training().on(LoopEvent.STEP_END, lambda loop: None)
    assert training().handlers == [] and training().around == [] and training().kept == {}


def test_a_loop_cannot_be_made_without_its_methods() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Loop()  # type: ignore[abstract]
