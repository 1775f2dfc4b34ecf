from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.measure.host import Host
from strop.pipeline import legal
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import Mlp, draft_for, mlp_draft

HOST = Host(cpu="test", cores=2)


class Scale(nn.Module):
    """Has a matrix, but multiplies element by element: nothing for an engine to quantise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight.sin()


def uncalibrated() -> Draft:
    return draft_for(Mlp(), [torch.ones(4, 16)], calibration=[])


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=StaticQuantization(),
        draft=mlp_draft,
        foreign=uncalibrated,
        idle=(StaticQuantization(), lambda: draft_for(Scale(), [torch.ones(4, 8)])),
        companions=(ModelServingFramework(engine="openvino"),),
        host=HOST,
    )


def test_declares_one_intent_with_every_setting_and_its_own_tally() -> None:
    draft, tally = mlp_draft(), Tally()
    settings = {"symmetric": True, "per_channel": False, "range_estimator": "percentile", "smooth": 0.5, "keep_float": ("a", "b")}
    StaticQuantization(**settings).at_lower(draft, tally)  # type: ignore[arg-type]
    intent = draft.quantization
    assert intent is not None and intent.tally is tally and intent.mode == "static"
    assert (intent.symmetric, intent.per_channel, intent.range_estimator) == (True, False, "percentile")
    assert (intent.smooth, intent.keep_float) == (0.5, ("a", "b"))


def test_declines_without_calibration_data_and_without_weights() -> None:
    assert "calibration split" in str(StaticQuantization().decline(uncalibrated(), HOST))
    norms = draft_for(nn.Sequential(nn.LayerNorm(8), nn.ReLU()), [torch.ones(2, 8)])
    assert "no linear, convolution or recurrent weights" in str(StaticQuantization().decline(norms, HOST))
    lookup = draft_for(nn.Sequential(nn.Embedding(9, 8)), [torch.ones(2, 3, dtype=torch.long)])
    assert "no linear" in str(StaticQuantization().decline(lookup, HOST))


def test_needs_an_engine_for_calibrated_int8() -> None:
    start = mlp_draft().workload.traits
    assert StaticQuantization().ties().excludes == {Trait.QUANTIZED, Trait.ACCELERATOR}
    assert "needs an engine that runs calibrated int8" in str(legal(Recipe([StaticQuantization()]), start))
    for engine in ("openvino", "onnxruntime"):
        assert legal(Recipe([StaticQuantization(), ModelServingFramework(engine=engine)]), start) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("smooth", [-0.1, 1.1])
def test_smoothing_is_a_share(smooth: float) -> None:
    with pytest.raises(ValueError, match="share between 0 and 1"):
        StaticQuantization(smooth=smooth)


def test_declines_on_an_accelerator() -> None:
    draft = mlp_draft()
    draft.workload = replace(draft.workload, device="cuda:1")
    assert StaticQuantization().decline(draft, HOST) == "calibrated int8 runs on the processor, and this workload is on cuda:1"
    recipe = Recipe([StaticQuantization(), ModelServingFramework()])
    assert "cannot be used with an accelerator" in str(legal(recipe, draft.workload.traits))
