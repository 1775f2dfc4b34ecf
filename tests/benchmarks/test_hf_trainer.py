"""The benchmark against Trainer: turns through whole epochs, quotients of pairs, and strop's own arm for real."""

from __future__ import annotations

import math
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.hf_trainer import POINT, RIVALS, SLICE, Epochs, StropArm, measure, quotient, table
from strop.catalogue import recipe_from_json


class Fake:
    """An arm whose slices take a known time; it notes who had the turn."""

    def __init__(self, name: str, seconds: float, turns: list[str], steps: int = 3 * SLICE) -> None:
        self.name, self.seconds, self.turns, self.steps = name, seconds, turns, steps

    def call(self, method: str) -> dict[str, Any]:
        return {"steps": self.steps, "computed": 30, "real": 20, "tallies": {}}

    def block(self, point: str, inputs: list[int], timeout: float) -> Any:
        self.turns.append(self.name)
        time.sleep(0.001)
        return SimpleNamespace(calls_ns=(round(1e9 * self.seconds),))


def test_every_arm_has_each_turn_of_an_epoch_once_and_the_first_epoch_does_not_count() -> None:
    turns: list[str] = []
    arms: Any = {name: Fake(name, seconds, turns) for name, seconds in (("slow", 2.0), ("quick", 0.5))}
    found = measure(arms, time.monotonic() + 0.2, random.Random(0))
    epochs = len(found["slow"].seconds)
    assert epochs >= 2 and found["slow"].seconds == (6.0,) * epochs and found["quick"].seconds == (1.5,) * epochs
    assert len(turns) == 2 * (3 * (epochs + 1) - 1)  # loading took the first slice
    pairs = [tuple(turns[n : n + 2]) for n in range(0, len(turns), 2)]
    assert {frozenset(pair) for pair in pairs} == {frozenset(arms)} and len(set(pairs)) == 2
    assert found["slow"].computed == 1.5


@pytest.mark.parametrize("steps", [[3 * SLICE, 4 * SLICE], [SLICE + 1, SLICE + 1]])
def test_arms_whose_epochs_do_not_hold_the_same_slices_are_refused(steps: list[int]) -> None:
    arms: Any = {str(n): Fake(str(n), 1.0, [], count) for n, count in enumerate(steps)}
    with pytest.raises(ValueError, match=f"equally many slices of {SLICE} steps"):
        measure(arms, time.monotonic(), random.Random(0))


def test_a_quotient_pairs_the_epochs_so_that_a_slow_spell_of_the_machine_cancels() -> None:
    low, middle, high = quotient([4.0, 8.0, 4.4], [2.0, 4.0, 2.2])
    assert low == pytest.approx(2) and middle == pytest.approx(2) and high == pytest.approx(2)
    low, middle, high = quotient([4.0, 4.4, 3.6], [2.0, 2.0, 2.0])
    assert middle == pytest.approx(math.exp((math.log(2) + math.log(2.2) + math.log(1.8)) / 3)) and low < middle < high
    with pytest.raises(ValueError, match="two epochs or more, got 1"):
        quotient([1.0], [1.0])


def test_the_table_compares_every_arm_with_each_rival() -> None:
    rival = next(iter(RIVALS))
    text = table({rival: Epochs((4.0, 4.0), 2.6, {}), "mine": Epochs((1.0, 1.0), 1.04, {})}, samples=800)
    assert f"| {rival} | 200.0 | 2.60 | 1 |" in text and "| mine | 800.0 | 1.04 | 4.00 [4.00, 4.00] |" in text


@pytest.mark.slow
def test_strops_arm_takes_slices_and_says_what_its_recipe_changed() -> None:
    recipe = {"length_bucketing": {"split_tokens": 128}, "kernel_fusion": {"rules": ["optimizer", "dropout", "embedding"]}}
    arm = StropArm(recipe_from_json(recipe))
    try:
        arm.run(POINT, 0)
        told = arm.call("size", {})
        assert told["steps"] == 25 and told["computed"] >= told["real"] > 0
        assert told["tallies"]["kernel_fusion"]["embedding rows that no sample uses"] > 20_000
    finally:
        arm.close()
