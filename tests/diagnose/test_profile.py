from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn

from strop.diagnose.diagnosis import OperatorShare
from strop.diagnose.profile import Profile, profile_calls, start_cost


class Planted(nn.Module):
    """Does ``products`` large products and ``small`` tiny additions."""

    def __init__(self, products: int, small: int) -> None:
        super().__init__()
        self.products, self.small = products, small

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tiny = torch.zeros(1)
        for _ in range(self.small):
            tiny = torch.add(tiny, 1)
        for _ in range(self.products):
            x = torch.mm(x, x)
        return x


def test_operators_are_counted_per_call() -> None:
    profile = profile_calls(Planted(3, 5), [((torch.eye(64),), {})], 0.05)
    calls = {o.name: o.calls for o in profile.operators}
    assert calls["aten::mm"] == 3 and calls["aten::add"] == 5
    assert sum(o.share for o in profile.operators) == pytest.approx(1)
    assert profile.starts >= 8 and profile.seconds > 0


def test_the_largest_operator_comes_first() -> None:
    profile = profile_calls(Planted(4, 1), [((torch.eye(384),), {})], 0.1)
    assert profile.operators[0].name == "aten::mm"
    shares = [o.share for o in profile.operators]
    assert shares == sorted(shares, reverse=True)


def test_products_are_told_from_the_rest() -> None:
    rows = (
        OperatorShare("aten::addmm", 0.5, 1),
        OperatorShare("aten::mkldnn_convolution", 0.2, 1),
        OperatorShare("aten::add", 0.3, 1),
    )
    profile = Profile(seconds=1, timed=1, operators=rows, inside=1, profiled=1, starts=3)
    assert profile.product_share == pytest.approx(0.7)


def test_a_slow_model_is_called_a_few_times_only() -> None:
    calls = 0

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return Planted(1, 0)(x)

    profile_calls(Counting(), [((torch.eye(8),), {})], 1e-9)
    assert calls == 3


def test_starting_an_operator_costs_something() -> None:
    assert 0 < start_cost() < 1e-2


def test_the_time_of_a_call_is_the_mean_over_inputs_each_by_its_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is planted: the three inputs take 1, 2 and 6 s, and once the first is disturbed."""
    times = iter([[1.0], [1.0, 2.0, 6.0, 1.0, 2.0, 6.0, 100.0]])
    monkeypatch.setattr(import_module("strop.diagnose.profile"), "_time", lambda model, calls, seconds: next(times))
    profile = profile_calls(Planted(1, 0), [((torch.eye(8),), {})] * 3, 8.0)
    assert (profile.timed, profile.seconds) == (3, 3.0)


def test_one_interrupted_call_does_not_say_where_the_time_goes() -> None:
    """One of the profiled calls spends longer in another operator than all of them together in their products."""
    profiled = 0

    class Interrupted(Planted):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal profiled
            profiled += torch._C._autograd._profiler_enabled()
            if profiled == 5:
                torch.sort(torch.rand(1 << 20))
            return super().forward(x)

    found = profile_calls(Interrupted(4, 1), [((torch.eye(256),), {})], 0.2)
    assert profiled > 8
    assert found.operators[0].name == "aten::mm"
