"""States come back bit for bit, through copies, through files, and around other people's random numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from strop.errors import TrainingError
from strop.loop.state import copied, own_random_numbers, packed, random_state, set_random_state, unpacked

STATE: dict[str, Any] = {
    "weights": {"a": torch.randn(2, 3), 7: torch.tensor(1.5, dtype=torch.bfloat16)},
    "betas": (0.9, 0.999),
    "words": ["x", None, True, 3],
    "best": float("-inf"),
    "tiny": 5e-324,
    "empty": (torch.zeros(0), {}, []),
}


def draw() -> list[Any]:
    return [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_a_state_survives_packing() -> None:
    tensors, form = packed(STATE)
    assert same(unpacked(form, tensors), STATE)


def test_tensors_that_share_memory_are_stored_once() -> None:
    tied = torch.randn(4, 4)
    tensors, form = packed({"in": tied, "out": tied, "turned": tied.T})
    assert len(tensors) == 2
    back = unpacked(form, tensors)
    assert torch.equal(back["out"], tied) and torch.equal(back["turned"], tied.T)


def test_what_a_checkpoint_cannot_hold_is_named() -> None:
    with pytest.raises(TrainingError, match=r"cannot hold state\.schedule\.rule, which is a function"):
        packed({"schedule": {"rule": draw}})


def test_a_copy_does_not_follow_the_original() -> None:
    live = {"w": torch.ones(2), "more": [torch.ones(1)]}
    kept = copied(live)
    live["w"].add_(1)
    live["more"][0].add_(1)  # type: ignore[index]
    assert same(kept, {"w": torch.ones(2), "more": [torch.ones(1)]})


def test_random_numbers_go_on_from_a_packed_state() -> None:
    tensors, form = packed(random_state())
    first = draw()
    set_random_state(unpacked(form, tensors))
    assert draw() == first


def test_inside_only_the_seed_counts_and_outside_nothing_was_drawn() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = random_state()
    with own_random_numbers(5):
        one = draw()
    draw()
    with own_random_numbers(5):
        two = draw()
    set_random_state(before)
    with pytest.raises(ZeroDivisionError), own_random_numbers(5):
        draw()
        raise ZeroDivisionError
    assert one == two
    assert same(random_state(), before)
