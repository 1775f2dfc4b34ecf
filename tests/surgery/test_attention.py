"""Attention with dropout: torch's answers and gradients where nothing is dropped, the right share where something is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from strop.surgery import attention as module
from strop.surgery.attention import attend, share_attention, undo
from strop.surgery.dropout import SharedBitsDropout

SHAPE = (2, 3, 7, 5)


def tensors(dtype: torch.dtype = torch.float64, keys: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    query = torch.randn(SHAPE, dtype=dtype, requires_grad=True)
    key, value = (torch.randn(2, 3, keys, 5, dtype=dtype, requires_grad=True) for _ in "kv")
    return query, key, value


MASKS: dict[str, Any] = {
    "none": {},
    "boolean": {"attn_mask": (torch.arange(7) < torch.tensor([[7], [4]]))[:, None, None, :]},
    "added": {"attn_mask": torch.linspace(-2, 2, 49, dtype=torch.float64).view(7, 7)},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
}


@pytest.fixture
def nothing_drops(monkeypatch: pytest.MonkeyPatch) -> float:
    """Keep every element, and undo the growth of the kept ones; the probability to ask with."""
    monkeypatch.setattr(module, "drawn", lambda shape, levels: torch.full(shape, -1, dtype=torch.int16))
    monkeypatch.setattr(module, "LEVELS", 2**40)
    return 2.0**-40


@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_where_nothing_drops_answers_and_gradients_are_those_of_torch(options: dict[str, Any], nothing_drops: float) -> None:
    inputs, grad = tensors(), torch.randn(SHAPE, dtype=torch.float64)
    ours, wanted = (
        attend(*inputs, dropout_p=nothing_drops, **options),
        functional.scaled_dot_product_attention(*inputs, **options),
    )
    assert "Attend" in type(ours.grad_fn).__name__, "it was not handed to torch"
    torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(wanted, inputs, grad))


def test_under_autocast_products_are_narrow_and_gradients_near_the_exact_ones(nothing_drops: float) -> None:
    inputs, grad = tensors(torch.float32), torch.randn(SHAPE)
    with torch.autocast("cpu", torch.bfloat16):
        ours = attend(*inputs, dropout_p=nothing_drops)
    wanted = functional.scaled_dot_product_attention(*inputs)
    assert ours.dtype is torch.bfloat16
    torch.testing.assert_close(ours.float(), wanted, atol=0.03, rtol=0.03)
    found = torch.autograd.grad(ours, inputs, grad.bfloat16())
    torch.testing.assert_close(found, torch.autograd.grad(wanted, inputs, grad), atol=0.05, rtol=0.05)


def test_weights_are_dropped_as_often_as_asked_and_the_mean_stays() -> None:
    """Equal scores and values of 1: each answer is the share of the keys that stayed, grown."""
    torch.manual_seed(0)
    query, ones = torch.zeros(8, 4, 64, 4), torch.ones(8, 4, 64, 4)
    answers = attend(query, query, ones, dropout_p=0.25)[..., 0]
    error = math.sqrt(0.25 / 0.75 / (64 * answers.numel()))
    assert float(answers.mean()) == pytest.approx(1, abs=4 * error)
    assert float(answers.std()) == pytest.approx(math.sqrt(0.25 / 0.75 / 64), rel=0.1)


def test_the_gradient_follows_the_mask_that_was_drawn() -> None:
    """The answer is linear in the values: its product with a direction is the directional derivative, by the same mask."""
    query, key, value = tensors()
    torch.manual_seed(5)
    answer = attend(query, key, value, dropout_p=0.4)
    grad = torch.randn(SHAPE, dtype=torch.float64)
    (into,) = torch.autograd.grad(answer, value, grad, retain_graph=True)
    torch.testing.assert_close((into * value).sum(), (answer * grad).sum())

    def drawn_again(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(5)
        return attend(q, k, v, dropout_p=0.4)

    assert torch.autograd.gradcheck(drawn_again, (query, key, value))


@pytest.mark.parametrize(
    "changed",
    [
        {"dropout_p": 0.0},
        {"attn_mask": torch.zeros(7, 7, dtype=torch.float64, requires_grad=True)},
        {"attn_mask": torch.arange(7)[:, None] > torch.zeros(7)},  # the first query may see no key
    ],
    ids=["no dropout", "trained mask", "a row without a key"],
)
def test_what_it_is_not_written_for_is_answered_by_torch(changed: dict[str, Any]) -> None:
    options = {"dropout_p": 0.5} | changed
    torch.manual_seed(1)
    ours = attend(*tensors(), **options)
    torch.manual_seed(1)
    wanted = functional.scaled_dot_product_attention(*tensors(), **options)
    assert ours.grad_fn is not None and "Attend" not in type(ours.grad_fn).__name__
    torch.testing.assert_close(ours, wanted)


class Attends(nn.Module):
    """One attention with dropout."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.mix, self.p = nn.Linear(5, 5), p

    def forward(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(self.mix(x), x, x, dropout_p=self.p if self.training else 0.0)


def test_modules_that_attend_with_dropout_are_found_changed_and_given_back() -> None:
    model, x = nn.Sequential(Attends(), Attends(0.0), nn.Sequential(Attends())), torch.randn(SHAPE)
    plain = [type(m).__call__ for m in model.modules()]
    assert share_attention(model, lambda: model(x)) == 2
    assert "Attend" in type(model[0](x).grad_fn).__name__ and "Attend" not in type(model[1](x).grad_fn).__name__
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()), "no hook is left"
    undo(model)
    assert "Attend" not in type(model[0](x).grad_fn).__name__
    assert not any("forward" in vars(m) for m in model.modules()) and plain == [type(m).__call__ for m in model.modules()]


def test_a_watch_that_fails_leaves_no_hook() -> None:
    model = nn.Sequential(Attends())
    with pytest.raises(RuntimeError):
        share_attention(model, lambda: model(torch.randn(3, 4)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_block_that_is_recomputed_draws_the_same_mask_again() -> None:
    model, x = Attends(), torch.randn(SHAPE, requires_grad=True)
    share_attention(model, lambda: model(x))
    torch.manual_seed(2)
    (plain,) = torch.autograd.grad(model(x).square().sum(), x)
    torch.manual_seed(2)
    again = checkpoint(model, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again.square().sum(), x)[0], plain)


class Dropper(nn.Module):
    """Drops by shared bits, and attends with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(8, 8), SharedBitsDropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.drop(self.linear(x))[:, None]
        return attend(heads, 2 * heads, heads + 1, dropout_p=0.1)


@pytest.mark.parametrize("narrow", [False, True])
def test_what_a_compiler_traces_drops_the_same_and_gives_the_same_gradients(narrow: bool) -> None:
    model, x = Dropper(), torch.randn(3, 5, 8)
    found = []
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            answer = forward(x)
        answer.float().square().sum().backward()
        assert model.linear.weight.grad is not None
        found.append((answer.detach(), model.linear.weight.grad.clone()))
    torch.testing.assert_close(found[1], found[0])
