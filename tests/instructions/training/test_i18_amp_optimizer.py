from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from strop.contract.draft import Draft
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.contract.training import LossScale
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.measure.host import Host
from strop.pipeline import legal, train
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import draft_for, mlp_draft, training_draft

BF16 = Host(cpu="with bf16", cores=2, isa=frozenset({"avx512_bf16"}))
OLD = Host(cpu="without 16-bit units", cores=2, isa=frozenset({"avx2"}))


def norms_only() -> Draft:
    return draft_for(nn.Sequential(nn.LayerNorm(8)), [torch.ones(2, 8)])


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=AmpOptimizer(),
        draft=mlp_draft,
        declined=AmpOptimizer(opt_level="O0"),
        idle=(AmpOptimizer(), norms_only),
        host=BF16,
    )


class NormsOnly(nn.Module):
    """Nothing in it is a product."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(50, 3), nn.LayerNorm(3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.norm(self.embed(input_ids)).mean(1)}


class TestTrainingLaws(InstructionLaws):
    case = LawCase(
        instruction=AmpOptimizer(),
        draft=training_draft,
        declined=AmpOptimizer(opt_level="O2"),
        idle=(AmpOptimizer(), lambda: training_draft(model=NormsOnly)),
        host=BF16,
    )


class TestFloat16TrainingLaws(InstructionLaws):
    case = LawCase(
        instruction=AmpOptimizer(dtype="float16"),
        draft=training_draft,
        declined=AmpOptimizer(dtype="fp8"),
        idle=(AmpOptimizer(dtype="float16"), lambda: training_draft(model=NormsOnly)),
        host=Host(cpu="with fp16", cores=2, isa=frozenset({"amx_fp16"})),
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_training_products_run_in_16_bits_and_weights_and_gradients_stay_in_32(dtype: Any) -> None:
    draft, formats = training_draft(), set[torch.dtype]()
    assert draft.training is not None
    draft.training.on(LoopEvent.AFTER_FORWARD, lambda loop: formats.add(loop.outputs.dtype))
    draft.training.on(LoopEvent.GRADS_READY, lambda loop: formats.update(p.grad.dtype for p in loop.model.parameters()))
    done = train(draft, Recipe([AmpOptimizer(dtype=dtype)]), Host(cpu="any", cores=2, accelerators=("one",)))
    assert formats == {getattr(torch, dtype), torch.float32}
    # qkv, attention, mix, up, down and head: all six products, counted in the first micro-batch only
    assert done.tallies["amp_optimizer"] == {f"products in {dtype}": 6}
    assert {value.dtype for value in draft.model.state_dict().values()} == {torch.float32}


def test_float16_is_scaled_and_bfloat16_is_not() -> None:
    low, wide = training_draft(), training_draft()
    AmpOptimizer(dtype="float16", loss_scale_factor=128.0, backoff_factor=0.25).at_loop(low, Tally())
    AmpOptimizer().at_loop(wide, Tally())
    assert low.training is not None and wide.training is not None
    assert low.training.loss_scale == LossScale(initial=128.0, growth=2.0, backoff=0.25)
    assert wide.training.loss_scale is None


def test_a_planted_overflow_in_float16_is_left_out_and_the_scale_falls() -> None:
    draft, scales = training_draft(), list[float]()
    assert draft.training is not None

    def overflow(loop: Any) -> None:
        if loop.step == 1:
            loop.loss = loop.loss * float("inf")

    draft.training.on(LoopEvent.AFTER_LOSS, overflow)
    draft.training.on(LoopEvent.STEP_END, lambda loop: scales.append(loop.scaler.get_scale()))  # type: ignore[attr-defined]
    train(draft, Recipe([AmpOptimizer(dtype="float16", init_scale=1024.0)]), Host(cpu="any", cores=2, accelerators=("one",)))
    assert scales == [1024, 512, 512, 512, 512, 512]
    assert all(bool(torch.isfinite(value).all()) for value in draft.model.state_dict().values())


@pytest.mark.parametrize("level", ["O2", "O3"])
def test_half_weights_are_declined_in_training(level: Any) -> None:
    assert f"opt_level {level} would keep half weights" in str(AmpOptimizer(opt_level=level).decline(training_draft(), BF16))
    assert AmpOptimizer(opt_level=level).decline(mlp_draft(), BF16) is None


def test_declares_the_precision_and_hands_its_own_tally_to_the_engine() -> None:
    draft, tally = mlp_draft(), Tally()
    AmpOptimizer(dtype="float16").at_lower(draft, tally)
    assert draft.precision is not None and draft.precision.dtype == "float16" and draft.precision.tally is tally


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_every_level_but_o0_needs_an_engine_that_runs_bf16(level: str) -> None:
    on = AmpOptimizer(opt_level=level)  # type: ignore[arg-type]
    assert on.ties().needs == {Trait.BF16_ENGINE} and on.ties().adds == {Trait.REDUCED_PRECISION}
    off = AmpOptimizer(opt_level="O0")
    assert not off.ties().needs and not off.ties().adds


def test_it_runs_on_eager_and_openvino() -> None:
    start = mlp_draft().workload.traits
    assert legal(Recipe([AmpOptimizer()]), start) is None
    assert legal(Recipe([AmpOptimizer(), ModelServingFramework(engine="openvino")]), start) is None


def test_o0_leaves_the_draft_alone() -> None:
    draft, tally = mlp_draft(), Tally()
    AmpOptimizer(opt_level="O0").at_lower(draft, tally)
    assert draft.precision is None and tally.total == 0


@pytest.mark.parametrize(
    ("dtype", "isa", "declines"),
    [
        ("bfloat16", {"avx512_bf16"}, False),
        ("bfloat16", {"amx_bf16"}, False),
        ("bfloat16", {"avx512f"}, True),
        ("float16", {"avx512_bf16"}, True),
        ("float16", {"amx_fp16"}, False),
        ("fp8", {"avx512_bf16", "amx_fp16"}, True),
    ],
)
def test_declines_what_the_host_would_emulate(dtype: str, isa: set[str], declines: bool) -> None:
    host = Host(cpu="some CPU", cores=2, isa=frozenset(isa))
    reason = AmpOptimizer(dtype=dtype).decline(mlp_draft(), host)  # type: ignore[arg-type]
    assert (reason is not None) is declines
    if declines:
        assert "some CPU" in str(reason) and dtype in str(reason)


def test_an_accelerator_runs_16_bits_but_fp8_stays_declined() -> None:
    host = Host(cpu="old", cores=2, accelerators=("an accelerator",))
    assert AmpOptimizer(dtype="float16").decline(mlp_draft(), host) is None
    assert AmpOptimizer(dtype="fp8").decline(mlp_draft(), host) is not None


@pytest.mark.parametrize(
    "settings",
    [{"init_scale": 0.0}, {"loss_scale_factor": -1.0}, {"growth_factor": 0.5}, {"backoff_factor": 1.5}, {"backoff_factor": 0.0}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        AmpOptimizer(**settings)  # type: ignore[arg-type]


def test_old_hosts_get_a_reason_that_names_what_is_missing() -> None:
    assert "amx_bf16, avx512_bf16" in str(AmpOptimizer().decline(mlp_draft(), OLD))
