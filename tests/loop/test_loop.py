"""The loop over epochs: it stops anywhere and goes on bit-equal, rolls back bit-equal, and leaves the process as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Loop, LossScale, Training
from strop.loop.checkpoint import Checkpoints
from strop.loop.intents import training_of
from strop.loop.loop import TrainingLoop
from strop.loop.state import copied, random_state
from strop.testing.models import TinyAttention, sentences_workload


class Noisy(nn.Module):
    """Draws random numbers while it answers, as dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop = TinyAttention(), nn.Dropout(0.3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.drop(self.inner(input_ids, attention_mask)["logits"])}


def build() -> Noisy:
    torch.manual_seed(0)
    return Noisy()


def plan(**changes: Any) -> Training:
    training = training_of(sentences_workload(max_norm=1.0, micro_batch=3, **changes), 0)
    training.schedule = lambda optimizer, steps: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
    training.loss_scale = LossScale(initial=256.0, interval=2)
    return training


def losses_of(training: Training) -> list[float]:
    found: list[float] = []
    training.on(LoopEvent.STEP_END, lambda loop: found.append(float(loop.step_loss)))
    return found


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def uninterrupted() -> tuple[list[float], dict[str, Tensor]]:
    training = plan()
    losses = losses_of(training)
    with TrainingLoop(build(), training, seed=7) as loop:
        loop.run()
    return losses, weights(loop.model)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_interrupted_and_resumed_is_bit_equal_to_uninterrupted(stop: int, tmp_path: Path) -> None:
    expected, final = uninterrupted()
    first, second = plan(), plan()
    before, after = losses_of(first), losses_of(second)
    with TrainingLoop(build(), first, seed=7) as loop:
        first.on(
            LoopEvent.STEP_END, lambda loop: loop.step == stop and Checkpoints(tmp_path, {}).save(loop.step, loop.state_dict())
        )  # type: ignore[arg-type, return-value]
        loop.run(stop + 1)  # one step after the checkpoint is lost, as in a crash
    torch.rand(3)
    with TrainingLoop(build(), second, seed=99) as loop:
        state = Checkpoints(tmp_path, {}).latest()
        assert state is not None
        loop.load_state_dict(state)
        loop.run()
    assert before[:stop] + after == expected
    assert equal(weights(loop.model), final)


def test_steps_may_be_taken_in_any_portions() -> None:
    training = plan()
    losses = losses_of(training)
    with TrainingLoop(build(), training, seed=7) as loop:
        for portion in (1, 3, 1):
            loop.run(portion)
        assert loop.step == 5
        loop.run()
        loop.run()
    assert losses == uninterrupted()[0]


def test_k_steps_from_the_same_snapshot_and_seed_are_the_same_steps() -> None:
    training = plan()
    losses = losses_of(training)
    with TrainingLoop(build(), training, seed=7) as loop:
        loop.run(1)
        snapshot = copied(loop.state_dict())
        loop.run(3)
        loop.load_state_dict(copied(snapshot))
        loop.run(3)
    assert losses[1:4] == losses[4:7]


def test_roll_backs_to_one_snapshot_are_bit_equal_to_never_having_met_the_batches() -> None:
    poisoned, bad = plan(), {(0, 2), (1, 0)}
    snapshots: list[dict[str, Any]] = []

    def poison(loop: Loop) -> None:
        if (loop.epoch, loop.place) in bad:
            loop.loss = loop.loss * float("nan")

    def look(loop: Loop) -> None:
        if any(not bool(torch.isfinite(p.grad).all()) for p in loop.model.parameters() if p.grad is not None):
            loop.roll_back(snapshots[0])

    poisoned.on(LoopEvent.STEP_END, lambda loop: loop.step == 1 and snapshots.append(copied(loop.state_dict())))  # type: ignore[arg-type, return-value, func-returns-value]
    poisoned.on(LoopEvent.AFTER_LOSS, poison)
    poisoned.on(LoopEvent.GRADS_READY, look)
    clean = plan()
    batches = clean.batches
    clean.batches = lambda epoch: [b for n, b in enumerate(batches(epoch)) if (epoch, n) not in bad]
    clean.schedule = lambda optimizer, steps: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps + 2)
    with TrainingLoop(build(), poisoned, seed=7) as one:
        one.run()
    with TrainingLoop(build(), clean, seed=7) as other:
        other.run()
    assert one.step == other.step == 4
    assert equal(weights(one.model), weights(other.model))


def test_a_stop_ends_after_the_step_and_a_limit_of_steps_holds() -> None:
    training = plan()
    training.on(LoopEvent.GRADS_READY, lambda loop: loop.stop("enough") if loop.step == 2 else None)
    with TrainingLoop(build(), training, seed=7) as loop:
        loop.run()
    assert (loop.step, loop.stopped) == (3, "enough")
    limited = plan(steps=2)
    with TrainingLoop(build(), limited, seed=7) as loop:
        loop.run()
    assert (loop.step, loop.total) == (2, 2)


def test_epochs_begin_and_end_once_each_however_the_run_is_cut() -> None:
    training = plan()
    events: list[tuple[str, int]] = []
    for event in (LoopEvent.EPOCH_START, LoopEvent.EPOCH_END):
        training.on(event, lambda loop, event=event: events.append((event.value, loop.epoch)))  # type: ignore[misc]
    with TrainingLoop(build(), training, seed=7) as loop:
        loop.run(3)
        loop.run(1)
        loop.run()
    assert events == [("epoch_start", 0), ("epoch_end", 0), ("epoch_start", 1), ("epoch_end", 1)]


@pytest.mark.parametrize("where", [LoopEvent.FIT_START, LoopEvent.AFTER_LOSS, LoopEvent.STEP_END])
def test_an_error_still_ends_the_fit_and_leaves_the_process_as_it_was(where: LoopEvent) -> None:
    training, model = plan(), build().eval()
    ended: list[str] = []

    def fail(loop: Loop) -> None:
        raise ZeroDivisionError("planted")

    training.on(LoopEvent.FIT_END, lambda loop: ended.append("end"))
    training.on(where, fail)
    before = random_state()["torch"]
    with pytest.raises(ZeroDivisionError, match="planted"), TrainingLoop(model, training, seed=7) as loop:
        loop.run()
    assert ended == ["end"]
    assert torch.equal(random_state()["torch"], before) and not model.training


def test_kept_parts_come_back_with_the_state() -> None:
    class Counter:
        count = 0

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    training, counter = plan(), Counter()
    training.keep("counter", counter)

    def count(loop: Loop) -> None:
        counter.count += 1

    training.on(LoopEvent.STEP_END, count)
    with TrainingLoop(build(), training, seed=7) as loop:
        loop.run(2)
        state = copied(loop.state_dict())
        loop.run(2)
        loop.load_state_dict(state)
    assert counter.count == 2
