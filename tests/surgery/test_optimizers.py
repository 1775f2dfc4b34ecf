"""Fused optimizers: the same steps up to rounding, every setting of every group taken over, and a refusal for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from strop.surgery.optimizers import clip, fused, sparse_gradients

Build = Callable[[list[dict[str, Any]]], Optimizer]
BUILDS: dict[str, Build] = {
    "Adam": lambda groups: Adam(groups, lr=0.01, betas=(0.8, 0.95), weight_decay=0.02),
    "AdamW": lambda groups: AdamW(groups, lr=0.02, weight_decay=0.3, amsgrad=True),
    "SGD": lambda groups: SGD(groups, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
}


def groups(model: nn.Module) -> list[dict[str, Any]]:
    first, second = model.parameters()
    return [{"params": [first]}, {"params": [second], "lr": 0.5, "weight_decay": 0.0}]


def model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(16, 8)


@pytest.mark.parametrize("name", BUILDS)
def test_ten_steps_are_the_same_up_to_rounding(name: str) -> None:
    plain, other = model(), model()
    slow = BUILDS[name](groups(plain))
    quick = fused(BUILDS[name](groups(other)))
    assert quick is not None and type(quick) is type(slow) and all(group["fused"] for group in quick.param_groups)
    x = torch.randn(32, 16)
    for _ in range(10):
        for net, optimizer in ((plain, slow), (other, quick)):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert not torch.equal(one, dict(model().named_parameters())["bias" if one.dim() == 1 else "weight"])
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BUILDS)
def test_a_fused_optimizer_clips_while_it_steps_and_not_longer_than_asked(name: str) -> None:
    plain, other = model(), model()
    slow, quick = BUILDS[name](groups(plain)), fused(BUILDS[name](groups(other)))
    assert quick is not None
    x = torch.randn(32, 16)
    for factor, at_once in ((10, False), (10, True), (1e-3, False)):  # the last gradients are within the norm
        for net, optimizer in ((plain, slow), (other, quick)):
            optimizer.zero_grad()
            (factor * net(x).square().mean()).backward()
        before = [p.grad.clone() for p in other.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(before)
        assert (float(norm) > 0.1) is (factor == 10)
        nn.utils.clip_grads_with_norm_(plain.parameters(), 0.1, norm)
        clip(other, quick, norm, 0.1, at_once=at_once)
        untouched = all(torch.equal(p.grad, g) for p, g in zip(other.parameters(), before, strict=True) if p.grad is not None)
        assert untouched is not at_once
        for optimizer in (slow, quick):
            optimizer.step()
        for one, two in zip(plain.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-5, atol=1e-7)


class Mine(AdamW):
    """Might step in a way of its own, whatever its groups say."""


@pytest.mark.parametrize("build", [BUILDS["AdamW"], lambda groups: Mine(groups, fused=True)], ids=["plain", "a subclass"])
def test_an_optimizer_that_is_not_known_to_divide_has_its_gradients_clipped_now(build: Build) -> None:
    net = model()
    net(torch.ones(1, 16)).sum().backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    clip(net, build(groups(net)), nn.utils.get_total_norm(grads), 0.5)
    assert float(nn.utils.get_total_norm(grads)) == pytest.approx(0.5, rel=1e-4)


def test_a_fused_one_a_stepped_one_and_one_of_another_kind_are_left_alone() -> None:
    net = model()
    stepped = AdamW(net.parameters())
    net(torch.ones(1, 16)).sum().backward()
    stepped.step()
    cases = (AdamW(net.parameters(), fused=True), stepped, RMSprop(net.parameters()), Mine(net.parameters()))
    assert [fused(case) for case in cases] == [None] * 4


def test_sparse_gradients_are_known_by_the_module_that_makes_them() -> None:
    for table in (nn.Embedding, nn.EmbeddingBag):
        assert sparse_gradients(nn.Sequential(nn.Sequential(table(4, 2, sparse=True))))
        assert not sparse_gradients(nn.Sequential(nn.Sequential(table(4, 2)), nn.Linear(2, 2)))


def test_parameters_that_have_no_fused_kernel_keep_their_optimizer() -> None:
    assert fused(AdamW([nn.Parameter(torch.zeros(3, dtype=torch.complex64))])) is None
