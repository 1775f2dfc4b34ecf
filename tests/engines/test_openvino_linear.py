"""Linear layers as convolutions: the same answers, nothing but linear layers of fixed size, and no transpose that moves data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import EngineOptions, Quantization
from strop.contract.tally import Tally
from strop.engines import get
from strop.engines.openvino_linear import as_convolutions
from strop.engines.quiet import openvino_core
from strop.errors import UsageError

WIDTH, ROWS = 16, 24


class Block(nn.Module):
    """Two linear layers that follow each other, one without bias and with two readers, and a product of two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.shared, self.other = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.shared(x)
        mixed = shared @ torch.tanh(self.other(x)).transpose(1, 2) @ x / ROWS + torch.relu(shared)
        answer: Tensor = x + self.down(nn.functional.gelu(self.up(mixed)))
        return answer


def lowered(tiny: SimpleNamespace, folder: Path, model: nn.Module, inputs: list[Tensor], *, int8: bool = False) -> Any:
    draft = tiny.draft(model, inputs, calibration=inputs if int8 else (), engine="openvino")
    if int8:
        draft.quantization = Quantization(mode="static", tally=Tally())
    get("openvino").lower(draft, folder)
    return draft


def kinds(model: Any) -> Counter[str]:
    return Counter(op.get_type_name() for op in model.get_ops())


@pytest.mark.parametrize("int8", [False, True])
def test_answers_stay_the_same(int8: bool, tiny: SimpleNamespace, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(batch, ROWS, WIDTH) for batch in (1, 2, 3) * 2]  # any batch, as long as the rows are fixed
    draft = lowered(tiny, tmp_path, Block().eval(), inputs, int8=int8)
    engine, options = get("openvino"), (EngineOptions(), EngineOptions(linear="convolution"))
    before, after = (engine.open(tmp_path, draft.signature, chosen) for chosen in options)
    for x in inputs:
        want, got = before(x), after(x)
        # the sums of int8 are the same; rounding a sum to the next int8 may differ by one step
        assert torch.allclose(got, want, atol=1e-5 if not int8 else 0.1), float((got - want).abs().max())
        assert (got - want).abs().mean() < (1e-6 if not int8 else 0.01)


def test_every_linear_layer_and_nothing_else_is_rewritten(tiny: SimpleNamespace, tmp_path: Path) -> None:
    lowered(tiny, tmp_path, Block().eval(), [torch.randn(2, ROWS, WIDTH) for _ in range(3)])
    model = openvino_core().read_model(tmp_path / "model.xml")
    before = kinds(model)
    assert as_convolutions(model) == 4
    after = kinds(model)
    assert before["MatMul"] == 6 and after["MatMul"] == 2, "the two products of activations stay"
    assert after["Convolution"] == 4
    # one before and one after each layer, but none between two layers that follow each other
    assert after["Transpose"] - before["Transpose"] == 2 * 4 - 2


def test_transposes_around_convolutions_move_no_data(tiny: SimpleNamespace, tmp_path: Path) -> None:
    lowered(tiny, tmp_path, Block().eval(), [torch.randn(2, ROWS, WIDTH) for _ in range(3)])
    counts = []
    for rewrite in (False, True):
        model = openvino_core().read_model(tmp_path / "model.xml")
        if rewrite:
            as_convolutions(model)
        run = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).get_runtime_model()
        counts.append(Counter(str(op.get_rt_info()["layerType"].astype(str)) for op in run.get_ops())["Transpose"])
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (nn.Linear(WIDTH, 4), [torch.randn(3, WIDTH) for _ in range(3)]),
        (nn.Linear(WIDTH, 4), [torch.randn(2, n, WIDTH) for n in (3, 5, 9)]),
        (nn.Softmax(-1), [torch.randn(2, 3, WIDTH) for _ in range(3)]),
    ],
    ids=["one row per example", "a varying number of rows", "no linear layer"],
)
def test_where_nothing_is_rewritten_it_cannot_be_asked(
    model: nn.Module, inputs: list[Tensor], tiny: SimpleNamespace, tmp_path: Path
) -> None:
    draft = lowered(tiny, tmp_path, model.eval(), inputs)
    with pytest.raises(UsageError, match="no linear layer answers rows of a fixed number"):
        get("openvino").open(tmp_path, draft.signature, EngineOptions(linear="convolution"))
