"""One optimizer step: its order, its loss, its identities, and its way out when gradients overflow for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Loop, LossScale, Micro
from strop.errors import TrainingError, WorkloadError
from strop.loop.intents import training_of
from strop.loop.loop import TrainingLoop
from strop.loop.step import OVERFLOWS, share
from strop.testing.models import pad, sentences_workload


def gradients(**changes: Any) -> list[Tensor]:
    """Return the gradients of the first step."""
    workload = sentences_workload(**changes)
    found: list[Tensor] = []
    training = training_of(workload, 0)
    training.on(LoopEvent.GRADS_READY, lambda loop: found.extend(p.grad.clone() for p in loop.model.parameters()))  # type: ignore[union-attr]
    with TrainingLoop(workload.model(), training, seed=0) as loop:
        loop.run(1)
    return found


def furthest(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in zip(one, other, strict=True))


def token_loss(outputs: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """The mean over real tokens of the sentence's own loss: what a language model's loss looks like."""
    lengths = batch["attention_mask"].sum(1)
    return (functional.cross_entropy(outputs, batch["labels"], reduction="none") * lengths).sum() / lengths.sum()


def tokens(batch: dict[str, Tensor]) -> int:
    return int(batch["attention_mask"].sum())


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"loss": lambda o, b: functional.cross_entropy(o, b["labels"])},
        {"loss": token_loss, "items": tokens},
        {
            "loss": lambda o, b: functional.cross_entropy(o, b["labels"], reduction="none") * b["attention_mask"].sum(1),
            "items": tokens,
        },
    ],
    ids=["per sample", "mean", "mean over tokens", "sum over tokens per sample"],
)
def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch: int, loss: dict[str, Any]) -> None:
    whole = gradients(**loss)
    assert furthest(whole, gradients(**loss, micro_batch=micro_batch)) < 2e-6


def test_the_mean_of_micro_batch_means_would_have_been_another_gradient() -> None:
    naive = gradients(loss=token_loss, micro_batch=3)  # without items each token of a short micro-batch counts for more
    assert furthest(gradients(loss=token_loss, items=tokens), naive) > 1e-2


def test_padding_does_not_change_the_loss() -> None:
    def padded(rows: list[Any]) -> dict[str, Tensor]:
        batch = pad(rows)
        return {k: functional.pad(v, (0, 5)) if v.dim() == 2 else v for k, v in batch.items()}

    assert furthest(gradients(), gradients(collate=padded)) < 2e-6


def test_a_scalar_loss_and_losses_per_sample_are_one_loss() -> None:
    mean = gradients(loss=lambda o, b: functional.cross_entropy(o, b["labels"]))
    assert furthest(gradients(), mean) < 1e-6


def test_a_whole_batch_is_exactly_plain_torch() -> None:
    workload = sentences_workload()
    training = training_of(workload, 0)
    model = workload.model()
    batch = pad([workload.data[number] for number in training.batches(0)[0]])
    functional.cross_entropy(workload.forward(model, batch), batch["labels"]).backward()
    plain = [p.grad for p in model.parameters()]
    ours = gradients(loss=lambda o, b: functional.cross_entropy(o, b["labels"]))
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))  # type: ignore[arg-type]


ORDER = [
    "batch", "micro_start", "before_forward", "after_forward", "before_loss", "after_loss", "before_backward", "after_backward",
    "micro_start", "before_forward", "after_forward", "before_loss", "after_loss", "before_backward", "after_backward",
    "grads_ready", "before_step", "after_step", "step_end",
]  # fmt: skip


def recorded(
    act: Callable[[Any], object] = lambda training: None, steps: int = 1, **changes: Any
) -> tuple[list[str], TrainingLoop]:
    workload = sentences_workload(**{"micro_batch": 4, **changes})
    training = training_of(workload, 0)
    events: list[str] = []
    for event in LoopEvent:
        training.on(event, lambda loop, event=event: events.append(event.value))  # type: ignore[misc]
    act(training)
    with TrainingLoop(workload.model(), training, seed=0) as loop:
        loop.run(steps)
    return events, loop


def test_the_events_come_in_the_order_of_the_enum_s_docstring() -> None:
    events, _ = recorded()
    assert events == ["fit_start", "epoch_start", *ORDER, "fit_end"]
    documented = [word.lower() for word in (LoopEvent.__doc__ or "").split() if word.lower() in set(LoopEvent)]
    assert documented == [event.value for event in LoopEvent]


def test_handlers_of_closing_events_run_last_in_first_out() -> None:
    calls: list[str] = []

    def add(training: Any) -> None:
        for event in (LoopEvent.BEFORE_FORWARD, LoopEvent.AFTER_FORWARD, LoopEvent.STEP_END):
            for name in "ab":
                training.on(event, lambda loop, word=f"{event.value} {name}": calls.append(word))

    recorded(add, micro_batch=None)
    assert calls == [
        "before_forward a", "before_forward b", "after_forward b", "after_forward a", "step_end b", "step_end a",
    ]  # fmt: skip


def test_gradients_are_true_when_looked_at_and_clipped_only_afterwards() -> None:
    norms: list[tuple[str, float]] = []

    def look(name: str) -> Callable[[Loop], None]:
        return lambda loop: norms.append((name, float(nn.utils.get_total_norm([p.grad for p in loop.model.parameters()]))))  # type: ignore[misc]

    def add(training: Any) -> None:
        training.loss_scale = LossScale(initial=2.0**10)
        training.on(LoopEvent.AFTER_BACKWARD, look("scaled"))
        training.on(LoopEvent.GRADS_READY, look("true"))
        training.on(LoopEvent.BEFORE_STEP, look("clipped"))

    _, loop = recorded(add, max_norm=0.01)
    found = dict(norms)
    plain = float(nn.utils.get_total_norm(gradients(micro_batch=4)))
    assert found["true"] == pytest.approx(plain, rel=1e-5)
    assert found["scaled"] == pytest.approx(1024 * plain, rel=1e-5)
    assert found["clipped"] == pytest.approx(0.01, rel=1e-3)
    assert loop.norm is not None and float(loop.norm) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_fused_optimizer_takes_the_clipped_step_and_whoever_looks_before_it_sees_clipped_gradients(looked_at: bool) -> None:
    norms: list[float] = []

    def look(loop: Loop) -> None:
        norms.append(float(nn.utils.get_total_norm([p.grad for p in loop.model.parameters()])))  # type: ignore[misc]

    def add(fused: bool) -> Callable[[Any], None]:
        def change(training: Any) -> None:
            training.optimizer = lambda model: torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
            training.on(LoopEvent.AFTER_STEP, look)
            if fused and looked_at:
                training.on(LoopEvent.BEFORE_STEP, look)

        return change

    (_, plain), (_, fused) = (recorded(add(choice), max_norm=0.01) for choice in (False, True))
    assert norms == pytest.approx([0.01] * (3 if looked_at else 2), rel=1e-3)
    for one, two in zip(plain.model.parameters(), fused.model.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)


def test_a_veto_leaves_weights_and_schedule_alone() -> None:
    def add(training: Any) -> None:
        training.schedule = lambda optimizer, steps: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
        training.on(LoopEvent.GRADS_READY, lambda loop: loop.veto())

    events, loop = recorded(add)
    assert all(torch.equal(a, b) for a, b in zip(loop.model.parameters(), sentences_workload().model().parameters(), strict=True))
    assert "before_step" not in events and "after_step" not in events and events[-2:] == ["step_end", "fit_end"]
    assert not loop.taken and loop.step == 1 and loop.optimizer.param_groups[0]["lr"] == 1e-2


def overflow_at(steps: set[int]) -> Callable[[Loop], None]:
    def plant(loop: Loop) -> None:
        if loop.step in steps:
            loop.loss = loop.loss * float("inf")

    return plant


def test_an_overflow_skips_the_step_halves_the_scale_and_holds_the_schedule() -> None:
    rates: list[tuple[bool, float]] = []

    def add(training: Any) -> None:
        training.loss_scale = LossScale(initial=1024.0)
        training.schedule = lambda optimizer, steps: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
        training.on(LoopEvent.AFTER_LOSS, overflow_at({1}))
        training.on(LoopEvent.STEP_END, lambda loop: rates.append((loop.taken, loop.optimizer.param_groups[0]["lr"])))

    _, loop = recorded(add, steps=3)
    assert [taken for taken, _ in rates] == [True, False, True]
    assert [rate for _, rate in rates] == pytest.approx([1e-3, 1e-3, 1e-4])
    assert loop.scaler is not None and loop.scaler.get_scale() == 512
    assert all(bool(torch.isfinite(p).all()) for p in loop.model.parameters())


def test_a_loss_that_stays_infinite_ends_training_instead_of_spinning() -> None:
    def add(training: Any) -> None:
        training.loss_scale = LossScale(initial=4.0)
        training.on(LoopEvent.AFTER_LOSS, overflow_at(set(range(1000))))

    with pytest.raises(TrainingError, match=f"overflowed in {OVERFLOWS} steps one after the other.*bfloat16"):
        recorded(add, steps=1000, epochs=50)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (torch.zeros(3), r"a torch\.float32 of shape \[3\] for 8 samples"),
        (torch.zeros(8, 2), r"of shape \[8, 2\]"),
        (torch.tensor(1), r"a torch\.int64 of shape \[\]"),
        (0.5, "a float for 8 samples"),
        (None, "a NoneType"),
    ],
)
def test_a_loss_that_is_neither_scalar_nor_per_sample_is_refused(loss: object, words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        share(loss, Micro(None, 8, 8, 8.0))


def test_a_step_without_items_is_refused() -> None:
    with pytest.raises(WorkloadError, match="a batch of 8 samples holds 0 items"):
        gradients(items=lambda batch: 0)
