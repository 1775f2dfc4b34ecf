from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from strop.surgery.flow import answers, departure, few, torch_call, watch
from strop.testing.models import ConvBnNet, TinyAttention


class Branch(nn.Module):
    """A layer whose answer two layers take, one that is called twice, and one whose answer is added outside."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.skip, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.skip(self.a(x))
        return self.act(self.b(y)) + self.c(self.c(y))


def test_who_takes_whose_answer_is_seen() -> None:
    flow = watch(Branch(), [torch.ones(2, 4)])
    a, b, act = flow["a"][0], flow["b"][0], flow["act"][0]
    assert [user.name if user else None for user in a.users] == ["b", "c"]
    assert b.source is a and [user.name if user else None for user in b.users] == ["act"]
    assert act.source is b and act.users == [None]
    assert flow["c"][1].source is flow["c"][0]
    assert "skip" not in flow
    assert a.steps == ("linear",) and act.steps == ("relu",) and a.numel == 8 and a.shape == (2, 4)


def test_an_answer_of_the_model_counts_as_taken() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            y = self.a(x)
            return {"raw": [y], "act": self.act(y)}

    assert {u.name if u else None for u in watch(Both(), [torch.ones(1, 4)])["a"][0].users} == {"act", None}


def test_reading_shapes_is_no_use() -> None:
    class Shapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act = nn.Linear(4, 4), nn.GELU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            assert y.dim() == 2 and y.shape[1] == 4 and y.size(0) and y.dtype == torch.float32
            return self.act(y)

    assert len(watch(Shapes(), [torch.ones(1, 4)])["a"][0].users) == 1


def test_what_a_layer_does_inside_belongs_to_it() -> None:
    stem = watch(ConvBnNet().eval(), [torch.ones(1, 3, 16, 16)])["stem"][0]
    assert stem.steps == ("pad", "conv2d") and stem.functions[0].constants == ([0, 1, 0, 1],)


def test_every_call_over_all_examples_is_kept_and_keyword_inputs_work() -> None:
    rows = [{"input_ids": torch.ones(1, n, dtype=torch.long), "attention_mask": torch.ones(1, n)} for n in (3, 5)]
    flow = watch(TinyAttention().eval(), rows)
    assert [call.numel for call in flow["qkv"]] == [3 * 96, 5 * 96]
    assert len(flow["norm"]) == 4


def test_hooks_go_and_the_error_comes_through_when_the_model_fails() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(RuntimeError):
        watch(model, [torch.ones(1, 5)])
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks
    assert functional.relu(torch.ones(1)).item() == 1


def test_numpy_examples_become_tensors() -> None:
    args, kwargs = torch_call({"x": np.ones((1, 2), dtype=np.float32)})
    assert args == () and isinstance(kwargs["x"], torch.Tensor)
    assert answers(nn.Linear(2, 3), [np.ones((1, 2), dtype=np.float32)])[0][0].shape == (1, 3)


def test_few_takes_first_middle_and_last() -> None:
    assert few([1, 2]) == [1, 2] and few(list(range(9))) == [0, 4, 8]


def test_departure_is_relative_to_the_largest_value() -> None:
    old = [[torch.tensor([1.0, -10.0])]]
    assert departure(old, [[torch.tensor([1.5, -10.0])]]) == pytest.approx(0.05)
    assert departure(old, old) == 0
    assert departure(old, [[torch.tensor([1.0])]]) == float("inf")
    nan = [[torch.tensor([1.0, float("nan")])]]
    assert departure(old, nan) > 1e300 or departure(old, nan) == float("inf")
    assert departure(nan, [[torch.tensor([1.0, float("nan")])]]) == 0
