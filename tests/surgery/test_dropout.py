"""Dropout from shared bits: the right share is dropped, the mean stays, gradients follow the mask, and all of it repeats."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from strop.surgery.dropout import SharedBitsDropout, share_bits, undo

MANY = 200_001
"""Not a multiple of the elements that one draw decides."""


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
def test_each_element_is_dropped_with_the_asked_probability_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    answer = SharedBitsDropout(p)(torch.ones(MANY))
    error = (p * (1 - p) / MANY) ** 0.5
    assert abs(float((answer == 0).float().mean()) - p) < 4 * error
    assert float(answer.mean()) == pytest.approx(1, abs=4 * error / (1 - p))
    kept = answer[answer != 0]
    assert bool((kept == kept[0]).all()) and float(kept[0]) == pytest.approx(1 / (1 - p), rel=1e-3)


def test_the_elements_that_one_draw_decides_are_independent_of_each_other() -> None:
    torch.manual_seed(1)
    kept = (SharedBitsDropout(0.5)(torch.ones(4 * 50_000)).view(-1, 4) != 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 4 / 50_000**0.5
    assert float((kept.mean(0) - 0.5).abs().max()) < 4 * 0.5 / 50_000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_gradient_is_that_of_the_mask(dtype: torch.dtype) -> None:
    x = torch.randn(7, 33, dtype=dtype, requires_grad=True)
    answer = SharedBitsDropout(0.3)(x)
    answer.backward(torch.ones_like(answer))
    assert answer.dtype == dtype and answer.shape == x.shape
    torch.testing.assert_close(answer, (x * x.grad).to(dtype))
    assert 0 < int((x.grad == 0).sum()) < x.numel()


def test_a_dropped_element_is_zero_whatever_stood_there() -> None:
    answer = SharedBitsDropout(0.5)(torch.full((1000,), torch.inf))
    assert 0 < int((answer == 0).sum()) < 1000 and bool((answer[answer != 0] == torch.inf).all())


def test_the_gradient_has_a_gradient() -> None:
    torch.manual_seed(2)
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    answer = SharedBitsDropout(0.3)(x)
    (slope,) = torch.autograd.grad((answer**2).sum(), x, create_graph=True)
    (curve,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(curve, 2 * (answer / x).detach() ** 2)


def test_a_seed_repeats_it_and_a_recomputed_block_draws_the_same_mask() -> None:
    layer, x = SharedBitsDropout(0.4), torch.randn(64, 64, requires_grad=True)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(first, layer(x))
    torch.manual_seed(3)
    again = checkpoint(layer, x, use_reentrant=False)
    again.sum().backward()
    assert torch.equal(first != 0, x.grad != 0)


def test_nothing_is_dropped_in_eval_mode() -> None:
    x = torch.randn(5)
    assert torch.equal(SharedBitsDropout(0.9).eval()(x), x)


def test_torchs_own_layers_change_and_change_back_while_special_ones_stay() -> None:
    class Own(nn.Dropout):
        pass

    model = nn.Sequential(
        nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.2)), nn.Dropout(0.0), nn.Dropout(1.0), Own(0.1), nn.Dropout1d()
    )
    assert share_bits(model) == 2 and share_bits(model) == 0
    assert [type(m).__name__ for m in model.modules() if isinstance(m, SharedBitsDropout)] == ["SharedBitsDropout"] * 2
    undo(model)
    assert not any(isinstance(m, SharedBitsDropout) for m in model.modules()) and model[0].p == 0.1
