"""Layers that read the same tensor share a product, and nobody's answers or gradients depart beyond rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from strop.surgery.siblings import join, undo


class Block(nn.Module):
    """Two layers read ``x``, one a half of it, one reads what they make, and one is called twice."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key = nn.Linear(8, 6, bias=bias), nn.Linear(8, 4, bias=bias)
        self.other, self.out, self.twice = nn.Linear(8, 5, bias=bias), nn.Linear(10, 8, bias=bias), nn.Linear(8, 8, bias=bias)

    def forward(self, x: Tensor, *, spoil: bool = False) -> Tensor:
        """Map (rows, 8) to (rows, 8)."""
        query = self.query(x)
        if spoil:
            x.add_(1.0)
        key = self.key(x)
        both = self.out(torch.cat([query, key], -1))
        return self.twice(self.twice(both)) + self.other(both)[:, :1]


def joined(block: nn.Module, x: Tensor) -> tuple[nn.Module, int]:
    changed = copy.deepcopy(block)
    return changed, join(changed, lambda: changed(x.clone()))


def gradients(block: nn.Module, x: Tensor, **how: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    block(x * 1, **how).square().sum().backward()
    assert x.grad is not None
    found = [x.grad, *(p.grad for p in block.parameters() if p.grad is not None)]
    block.zero_grad()
    return found


def products(block: nn.Module, x: Tensor) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        block(x.clone())
    return sum(event.count for event in profiler.key_averages() if event.key in ("aten::addmm", "aten::mm"))


@pytest.mark.parametrize("bias", [True, False])
def test_two_readers_of_one_tensor_become_one_product_with_the_same_answers_and_gradients(bias: bool) -> None:
    block, x = Block(bias), torch.randn(3, 8)
    changed, count = joined(block, x)
    assert count == 2 and products(block, x) == 6 and products(changed, x) == 5
    torch.testing.assert_close(changed(x.clone()), block(x.clone()))
    for one, two in zip(gradients(block, x), gradients(changed, x), strict=True):
        torch.testing.assert_close(one, two)
    assert [name for name, _ in changed.named_parameters()] == [name for name, _ in block.named_parameters()]


def test_a_tensor_that_was_changed_in_between_is_not_answered_from_before() -> None:
    block, x = Block(), torch.randn(3, 8)
    changed, _ = joined(block, x)
    torch.testing.assert_close(changed(x.clone(), spoil=True), block(x.clone(), spoil=True))


def test_neither_another_tensor_nor_another_mode_is_answered_from_before() -> None:
    block, x, y = Block(), torch.randn(3, 8), torch.randn(3, 8)
    changed, _ = joined(block, x)
    changed.query(x)
    torch.testing.assert_close(changed.key(y), block.key(y))
    with torch.no_grad():
        changed.query(x)
    assert changed.key(x).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(changed(torch.ones(3, 8)), block(torch.ones(3, 8)))


def test_weights_that_changed_since_are_the_ones_that_answer() -> None:
    block, x = Block(), torch.randn(3, 8)
    changed, _ = joined(block, x)
    with torch.no_grad():
        for model in (block, changed):
            for parameter in model.parameters():
                parameter.mul_(1.5)
    torch.testing.assert_close(changed(x.clone()), block(x.clone()))


def test_nothing_is_held_once_all_were_asked_and_nothing_is_left_afterwards() -> None:
    block, x = Block(), torch.randn(3, 8)
    changed, _ = joined(block, x)
    changed(x)
    siblings = changed.query.forward._siblings  # type: ignore[union-attr]
    assert siblings._source is None and not siblings._answers
    undo(changed)
    assert not any("forward" in vars(module) for module in changed.modules()) and products(changed, x) == 6


class InPlace(nn.Module):
    """Changes in place what one of its layers answers, and calls another by keyword."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, 8) to (rows, 8)."""
        query, key, value = self.query(x), self.key(x), self.value(input=x)
        kept = query.square()  # needs the query in the backward pass, so nothing that shares its memory may change
        key.view(-1).mul_(0.5)
        return nn.functional.relu(key, inplace=True) + kept * value


def test_a_layer_whose_answer_is_changed_in_place_answers_by_itself_and_one_called_by_keyword_is_joined() -> None:
    block, x = InPlace(), torch.randn(3, 8)
    changed, count = joined(block, x)
    assert count == 2 and "forward" not in vars(changed.key)
    torch.testing.assert_close(changed(x), block(x))
    for one, two in zip(gradients(block, x), gradients(changed, x), strict=True):
        torch.testing.assert_close(one, two)


def doubled(layer: nn.Linear) -> None:
    """Double what the layer reads."""
    layer.register_forward_pre_hook(lambda layer, arguments: (arguments[0] * 2,))


def made(layer: nn.Linear) -> None:
    """Let the weight be a tensor that something else computed."""
    weight = layer.weight.detach() * 2
    del layer.weight
    layer.weight = weight  # type: ignore[assignment]


@pytest.mark.parametrize(
    "change",
    [
        doubled,
        made,
        nn.utils.parametrizations.weight_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
        lambda layer: prune.random_unstructured(layer, "bias", 0.5),
    ],
    ids=["hook", "made", "parametrized", "pruned weight", "pruned bias"],
)
def test_layers_whose_input_or_weights_are_made_before_each_call_answer_by_themselves(
    change: Callable[[nn.Linear], object],
) -> None:
    block, x = Block(), torch.randn(3, 8)
    change(block.key)
    wanted = block(x)
    assert join(block, lambda: block(x)) == 0
    torch.testing.assert_close(block(x), wanted)


def test_under_autocast_they_share_a_cast_too() -> None:
    block, x = Block(), torch.randn(3, 8)
    changed, _ = joined(block, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert changed(x.clone()).dtype is torch.bfloat16
        torch.testing.assert_close(changed(x.clone()), block(x.clone()), rtol=2e-2, atol=2e-2)
