from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from strop.contract.draft import Draft
from strop.surgery.fused import same_padding
from strop.testing.models import Mlp, SameConv2d, attention_draft, conv_draft, draft_for, mlp_draft


@pytest.mark.parametrize("build", [mlp_draft, conv_draft, attention_draft])
def test_drafts_hold_together(build: object) -> None:
    draft = build()  # type: ignore[operator]
    assert isinstance(draft, Draft) and not draft.model.training
    assert draft.signature.inputs and draft.signature.outputs
    assert draft.facts.parameters == sum(p.numel() for p in draft.model.parameters())
    assert len(draft.workload.calibration.inputs) == len(draft.examples)


def test_only_the_attention_draft_varies_in_shape() -> None:
    assert attention_draft().facts.dynamic
    assert not mlp_draft().facts.dynamic and not conv_draft().facts.dynamic
    assert [spec.name for spec in attention_draft().signature.inputs] == ["input_ids", "attention_mask"]


def test_calibration_can_be_left_out() -> None:
    assert draft_for(Mlp(), [torch.ones(1, 16)], calibration=[]).facts.splits.keys() == {"screening", "confirming"}


@pytest.mark.parametrize(("size", "kernel", "stride"), [((8, 9), (3, 3), 2), ((7, 7), (5, 3), 1), ((6, 5), (1, 2), 3)])
def test_the_same_convolution_pads_as_tensorflow_does(size: tuple[int, int], kernel: tuple[int, int], stride: int) -> None:
    conv, x = SameConv2d(2, 3, kernel, stride=stride), torch.randn(1, 2, *size)
    (top, bottom), (left, right) = same_padding(size, kernel, [stride, stride], [1, 1])
    wanted = functional.conv2d(functional.pad(x, [left, right, top, bottom]), conv.weight, conv.bias, stride)
    assert torch.equal(conv(x), wanted)
    assert tuple(wanted.shape[-2:]) == tuple(-(-n // stride) for n in size)


def test_the_attention_ignores_what_is_masked() -> None:
    draft = attention_draft()
    row = draft.examples[0]
    longer = {
        "input_ids": functional.pad(row["input_ids"], [0, 3], value=7),
        "attention_mask": functional.pad(row["attention_mask"], [0, 3]),
    }
    with torch.inference_mode():
        assert torch.allclose(draft.model(**row)["logits"], draft.model(**longer)["logits"], atol=1e-5)
