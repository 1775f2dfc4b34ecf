"""Steps in a loop of one's own: what the recipe gives is given, and misuse is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.contract.loop_event import LoopEvent
from strop.errors import UsageError
from strop.loop.inline import UNSEEN, Inline
from strop.loop.intents import training_of
from strop.loop.step import Stepper
from strop.testing.models import TinyAttention, sentences_workload


def stepper() -> Stepper:
    torch.manual_seed(0)
    workload = sentences_workload(optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1))
    made = Stepper(TinyAttention(), training_of(workload, 0))
    made.prepare(10)
    return made


BATCH = {"input_ids": torch.arange(12).view(4, 3), "attention_mask": torch.ones(4, 3, dtype=torch.long)}
LABELS = torch.tensor([0, 1, 2, 0])


def loss(model: nn.Module, rows: slice = slice(None)) -> torch.Tensor:
    return nn.functional.cross_entropy(model(**{k: v[rows] for k, v in BATCH.items()})["logits"], LABELS[rows])


def test_a_step_is_the_step_that_plain_torch_takes() -> None:
    plain, ours = stepper().model, stepper()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss(plain).backward()
        optimizer.step()
    with Inline(ours) as s:
        for _ in s.batches(range(3)):
            with s.step():
                s.backward(loss(ours.model))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.model.parameters(), strict=True))
    assert (ours.step, ours.epoch) == (3, 1)


def test_shares_of_unequal_micro_batches_give_the_whole_gradient() -> None:
    whole, parts = stepper(), stepper()
    with Inline(whole) as s, s.step():
        s.backward(loss(whole.model))
    with Inline(parts) as s, s.step():
        s.backward(loss(parts.model, slice(0, 1)), share=0.25)
        s.backward(loss(parts.model, slice(1, 4)), share=0.75)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert float(parts.step_loss) == pytest.approx(float(whole.step_loss), rel=1e-5)


def test_events_come_in_order_and_those_of_the_caller_s_own_code_never() -> None:
    ours, seen = stepper(), list[LoopEvent]()
    for event in LoopEvent:
        ours.training.on(event, lambda loop, event=event: seen.append(event))  # type: ignore[misc]
    with Inline(ours) as s:
        for _ in s.batches([1]):
            with s.step():
                s.backward(loss(ours.model))
    assert [event for event in LoopEvent if event not in UNSEEN] == seen


def test_casting_holds_for_forward_and_not_for_backward() -> None:
    ours, inside = stepper(), list[bool]()
    ours.training.around.append(lambda loop: torch.autocast("cpu", torch.bfloat16))
    ours.training.on(LoopEvent.BEFORE_BACKWARD, lambda loop: inside.append(torch.is_autocast_enabled("cpu")))
    with Inline(ours) as s, s.step():
        for _ in range(2):
            assert torch.is_autocast_enabled("cpu")
            s.backward(loss(ours.model))
    assert inside == [False, False] and not torch.is_autocast_enabled("cpu")


def test_an_error_inside_a_step_closes_what_was_open_and_takes_no_step() -> None:
    ours = stepper()
    ours.training.around.append(lambda loop: torch.autocast("cpu", torch.bfloat16))
    with pytest.raises(ZeroDivisionError), Inline(ours) as s, s.step():
        s.backward(loss(ours.model))
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cpu") and ours.step == 0
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), stepper().model.parameters(), strict=True))


def test_batches_end_when_training_was_stopped() -> None:
    ours = stepper()
    ours.training.on(LoopEvent.STEP_END, lambda loop: loop.stop("enough"))
    with Inline(ours) as s:
        for _ in s.batches(range(5)):
            with s.step():
                s.backward(loss(ours.model))
        assert s.stopped == "enough"
    assert ours.step == 1


def test_misuse_is_said() -> None:
    with Inline(stepper()) as s:
        with pytest.raises(UsageError, match=r"belongs inside step\(\)"):
            s.backward(torch.zeros(()))
        with pytest.raises(UsageError, match=r"ended without backward\(\)"), s.step():
            pass
        with pytest.raises(UsageError, match="lies inside another"), s.step(), s.step():
            pass
        with pytest.raises(UsageError, match=r"the loss has shape \[3\]"), s.step():
            s.backward(torch.zeros(3))
