"""The rate's trace equals the closed form and torch's own schedules; it counts optimizer steps and nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR

from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.training import LossScale
from strop.instructions.data.i06_length_bucketing import LengthBucketing
from strop.instructions.training.i08_lr_scheduler import LrScheduler, Shape
from strop.measure.host import Host
from strop.pipeline import legal, train
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import mlp_draft, training_draft

HOST = Host(cpu="test", cores=2)


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=LrScheduler(),
        draft=training_draft,
        foreign=lambda: training_draft(epochs=1, batch_size=24),
        idle=(LrScheduler(shape="constant", warmup=0.0), training_draft),
    )


def trace(instruction: LrScheduler, *more: Any, **changes: Any) -> list[float]:
    """Return the rate of every step of a real training."""
    draft, rates = training_draft(**changes), list[float]()
    assert draft.training is not None
    draft.training.on(LoopEvent.BATCH, lambda loop: rates.append(loop.optimizer.param_groups[0]["lr"]))
    train(draft, Recipe([instruction, *more]), HOST)
    return rates


def torch_trace(build: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    schedule: LRScheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about the step after the last
            schedule.step()
    return rates


@pytest.mark.parametrize(
    ("instruction", "build"),
    [
        (LrScheduler(warmup=0), lambda o: CosineAnnealingLR(o, 60)),
        (LrScheduler(warmup=0, final=0.1), lambda o: CosineAnnealingLR(o, 60, eta_min=1e-3)),
        (LrScheduler(shape="linear", warmup=0, final=0.2), lambda o: LinearLR(o, 1.0, 0.2, 60)),
        (
            LrScheduler(shape="one_cycle", warmup=0.3, final=1 / 25e4),
            lambda o: OneCycleLR(o, max_lr=1e-2, total_steps=60, cycle_momentum=False),
        ),
    ],
    ids=["cosine", "cosine with a floor", "linear", "one cycle"],
)
def test_the_trace_is_that_of_torch_s_own_schedule(instruction: LrScheduler, build: Any) -> None:
    assert trace(instruction, epochs=20) == pytest.approx(torch_trace(build, 60), rel=1e-6, abs=1e-12)


def test_the_warm_up_rises_evenly_to_the_peak() -> None:
    rates = trace(LrScheduler(shape="constant", warmup=0.5), epochs=4)
    assert rates == pytest.approx([1e-2 * n / 7 for n in range(1, 7)] + [1e-2] * 6)


@pytest.mark.parametrize("shape", ["cosine", "linear", "one_cycle", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.99])
def test_every_factor_is_a_share_of_the_peak_however_short_the_run(shape: Shape, steps: int, warmup: float) -> None:
    schedule = LrScheduler(shape=shape, warmup=warmup)
    factors = [schedule.factor(step, steps) for step in range(steps + 2)]
    assert all(0 <= factor <= 1 for factor in factors)


def test_micro_batches_do_not_count() -> None:
    assert trace(LrScheduler(), micro_batch=2) == trace(LrScheduler())


def test_the_planned_steps_are_those_of_the_final_batches() -> None:
    rates = trace(LrScheduler(warmup=0), LengthBucketing(max_batch_size=4))
    assert len(rates) == 12 and rates == pytest.approx(torch_trace(lambda o: CosineAnnealingLR(o, 12), 12))


def test_a_step_left_out_by_the_loss_scale_does_not_move_the_rate() -> None:
    draft, rates = training_draft(), list[float]()
    assert draft.training is not None
    draft.training.loss_scale = LossScale(initial=8.0)

    def overflow(loop: Any) -> None:
        if loop.step == 2:
            loop.loss = loop.loss * float("inf")

    draft.training.on(LoopEvent.AFTER_LOSS, overflow)
    draft.training.on(LoopEvent.BATCH, lambda loop: rates.append(loop.optimizer.param_groups[0]["lr"]))
    train(draft, Recipe([LrScheduler(warmup=0)]), HOST)
    assert rates[3] == rates[2] and rates[4] < rates[3]


def test_every_group_keeps_its_own_peak() -> None:
    def optimizer(model: Any) -> torch.optim.Optimizer:
        first, *rest = model.parameters()
        return torch.optim.SGD([{"params": [first], "lr": 1.0}, {"params": rest, "lr": 0.1}])

    draft, ratios = training_draft(optimizer=optimizer), list[float]()
    assert draft.training is not None
    draft.training.on(
        LoopEvent.BATCH, lambda loop: ratios.append(loop.optimizer.param_groups[0]["lr"] / loop.optimizer.param_groups[1]["lr"])
    )
    train(draft, Recipe([LrScheduler()]), HOST)
    assert ratios == pytest.approx([10.0] * 6)


@pytest.mark.parametrize("settings", [{"warmup": 1.0}, {"warmup": -0.1}, {"final": 1.5}, {"final": -1.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        LrScheduler(**settings)  # type: ignore[arg-type]


def test_an_inference_workload_is_not_its_place() -> None:
    assert "needs training workload" in str(legal(Recipe([LrScheduler()]), mlp_draft().workload.traits))
