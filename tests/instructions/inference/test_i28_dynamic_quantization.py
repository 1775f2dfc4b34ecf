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
from strop.instructions.inference.i28_dynamic_quantization import DynamicQuantization
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.measure.host import Host
from strop.pipeline import legal
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import conv_draft, draft_for, mlp_draft

HOST = Host(cpu="test", cores=2)


class Scale(nn.Module):
    """Has a matrix, but multiplies element by element: nothing for an engine to quantise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def scale_draft() -> Draft:
    return draft_for(Scale(), [torch.ones(4, 8)])


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=DynamicQuantization(),
        draft=mlp_draft,
        foreign=conv_draft,
        idle=(DynamicQuantization(), scale_draft),
        companions=(ModelServingFramework(engine="onnxruntime"),),
        host=HOST,
    )


def test_declares_one_intent_with_its_own_tally() -> None:
    draft, tally = mlp_draft(), Tally()
    DynamicQuantization(per_channel=False, keep_float=("head",)).at_lower(draft, tally)
    intent = draft.quantization
    assert intent is not None and intent.tally is tally
    assert (intent.mode, intent.per_channel, intent.keep_float) == ("dynamic", False, ("head",))


def test_recurrent_weights_count_as_much_as_linear_ones() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer, _ = self.cell(x)
            return answer  # type: ignore[no-any-return]

    assert DynamicQuantization().decline(draft_for(Recurrent(), [torch.ones(3, 2, 8)]), HOST) is None


def test_a_convolutional_model_is_declined_with_the_share_that_would_be_quantised() -> None:
    def with_head(classes: int) -> Draft:
        layers = (nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
        return draft_for(nn.Sequential(*layers), [torch.ones(1, 3, 8, 8)])

    # the convolution has 64 × 27 weights: with 27 classes one half is linear, which is enough
    assert DynamicQuantization().decline(with_head(27), HOST) is None
    assert "10.0 %" in str(DynamicQuantization().decline(with_head(3), HOST))


@pytest.mark.parametrize(
    ("others", "word"),
    [
        ((), "needs"),
        ((ModelServingFramework(engine="openvino"),), "needs"),
        ((ModelServingFramework(engine="onnxruntime"),), None),
    ],
)
def test_needs_an_engine_that_finds_ranges_on_the_fly(others: tuple[ModelServingFramework, ...], word: str | None) -> None:
    reason = legal(Recipe([DynamicQuantization(), *others]), mlp_draft().workload.traits)
    assert (reason is None) if word is None else (word in str(reason))


def test_two_quantisers_exclude_each_other() -> None:
    recipe = Recipe([DynamicQuantization(), StaticQuantization(), ModelServingFramework(engine="onnxruntime")])
    assert DynamicQuantization().ties().excludes == {Trait.QUANTIZED, Trait.ACCELERATOR}
    assert "quantised weights" in str(legal(recipe, mlp_draft().workload.traits))


def test_declines_on_an_accelerator() -> None:
    draft = mlp_draft()
    draft.workload = replace(draft.workload, device="cuda")
    assert "runs on the processor, and this workload is on cuda" in str(DynamicQuantization().decline(draft, HOST))
    recipe = Recipe([DynamicQuantization(), ModelServingFramework(engine="onnxruntime")])
    assert "cannot be used with an accelerator" in str(legal(recipe, draft.workload.traits))
