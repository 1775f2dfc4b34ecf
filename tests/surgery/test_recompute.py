"""Blocks that repeat: found, priced, chosen, recomputed with the same numbers, and put back."""

from __future__ import annotations

import torch
from torch import nn

from strop.surgery.recompute import BlockCost, Recomputing, choose, costs, keep_all, recomputable, recompute, repeated
from strop.testing.models import ConvBnNet, Mlp


class Block(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.up, self.act, self.drop, self.down = nn.Linear(16, width), nn.GELU(), nn.Dropout(0.5), nn.Linear(width, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.drop(self.act(self.up(x))))


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 16), nn.Sequential(Block(), Block(), Block(256)), nn.Linear(16, 4))


def test_the_outermost_repeated_blocks_are_found() -> None:
    assert repeated(stack()) == ["1.0", "1.1", "1.2"]
    nested = nn.ModuleList([nn.Sequential(Block(), Block()), nn.Sequential(Block(), Block())])
    assert repeated(nested) == ["0", "1"]
    assert repeated(Mlp()) == [] and repeated(ConvBnNet()) == []


def test_blocks_that_change_a_buffer_or_have_no_weights_are_left_alone() -> None:
    norms = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(2)))
    assert repeated(norms) == []
    assert not recomputable(nn.Sequential(nn.ReLU())) and recomputable(Block())


def test_a_block_s_price_is_what_it_keeps_and_how_long_it_takes() -> None:
    net, x = stack().train(), torch.randn(8, 16)
    found = costs(net, repeated(net), lambda: net(x))
    small, large = found["1.0"], found["1.2"]
    assert small.saved == found["1.1"].saved and small.seconds == found["1.1"].seconds == large.seconds > 0
    assert large.saved > 4 * small.saved > 4 * (8 * 32 * 4)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_the_choice_is_by_bytes_per_second_until_the_share_is_reached() -> None:
    found = {"a": BlockCost(100, 1.0), "b": BlockCost(400, 1.0), "c": BlockCost(300, 0.5), "d": BlockCost(0, 0.1)}
    assert choose(found, 1.0) == ["a", "b", "c"]
    assert choose(found, 0.3) == ["c"]
    assert choose(found, 0.5) == ["b", "c"]
    assert choose({}, 1.0) == []


def test_recomputed_gradients_are_bit_equal_dropout_included() -> None:
    def gradients(net: nn.Module) -> list[torch.Tensor]:
        torch.manual_seed(5)
        net(torch.ones(3, 16)).sum().backward()
        return [p.grad for p in net.parameters() if p.grad is not None]

    plain, other = stack().train(), stack().train()
    for name in repeated(other):
        recompute(other.get_submodule(name))
    assert all(torch.equal(a, b) for a, b in zip(gradients(plain), gradients(other), strict=True))


def test_it_is_undone_without_a_trace() -> None:
    net = stack()
    names = list(net.state_dict())
    recompute(net.get_submodule("1.0"))
    assert isinstance(net.get_submodule("1.0").forward, Recomputing) and list(net.state_dict()) == names
    keep_all(net)
    assert not any("forward" in vars(module) for module in net.modules())
