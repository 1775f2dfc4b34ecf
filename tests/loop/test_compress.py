"""The arithmetic of exchanging coded gradients; the exchange itself runs in tests/instructions/training/test_i16."""

from __future__ import annotations

import pytest
import torch

from strop.loop.compress import Remainders, break_even, wire_bytes
from strop.surgery.codes import Code


@pytest.mark.parametrize("bits", [4, 8])
def test_the_break_even_is_where_gathering_costs_as_much_as_a_ring(bits: int) -> None:
    plain = 10**9
    handed, most = int(Code(bits).share * plain), break_even(Code(bits))
    costs = {world: wire_bytes(handed, plain, world) for world in (2, most - 1, most)}
    assert costs[2][0] < 0.3 * costs[2][1]
    assert costs[most - 1][0] < costs[most - 1][1] and costs[most][0] >= costs[most][1]
    assert most == {4: 16, 8: 8}[bits]


def test_remainders_survive_and_an_earlier_state_is_not_changed_by_going_on() -> None:
    one = Remainders()
    one.owed["w"] = torch.ones(3)
    state = one.state_dict()
    one.owed["w"] = torch.zeros(3)
    two = Remainders()
    two.load_state_dict(state)
    two.owed["b"] = torch.zeros(1)
    assert state["w"].tolist() == [1, 1, 1] and list(state) == ["w"] and two.owed["w"].tolist() == [1, 1, 1]
