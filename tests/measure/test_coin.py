"""The coin: repeatable, fair, and different for every comparison and seed."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from strop.measure.coin import coin, coins_match, jitter
from strop.measure.result import Pair


def tosses(seed: int, comparison: str, count: int) -> list[bool]:
    return [coin(seed, comparison, index) for index in range(count)]


@given(st.integers(), st.text(), st.integers(0, 10**9))
def test_a_coin_depends_on_nothing_else(seed: int, comparison: str, index: int) -> None:
    assert coin(seed, comparison, index) is coin(seed, comparison, index)
    assert 0 <= jitter(seed, comparison, index) < 0.02


def test_published_tosses_never_change() -> None:
    """A ledger written today must verify with tomorrow's code."""
    assert "".join("01"[toss] for toss in tosses(7, "screen/38", 24)) == "110110111111010011110011"


def test_the_coin_is_fair_and_does_not_alternate() -> None:
    count = 20_000
    row = tosses(1, "a", count)
    limit = 4 * math.sqrt(count) / 2
    assert abs(sum(row) - count / 2) < limit
    assert abs(sum(a == b for a, b in itertools.pairwise(row)) - count / 2) < limit
    assert abs(sum(a == b for a, b in zip(row, row[2:], strict=False)) - count / 2) < limit


def test_seed_comparison_and_purpose_each_give_other_coins() -> None:
    base = tosses(1, "a", 64)
    assert base != tosses(2, "a", 64)
    assert base != tosses(1, "b", 64)
    assert coin(1, "a1", 1) is not None
    assert tosses(1, "a\x001", 64) != base


def test_jitter_spreads_over_its_range() -> None:
    pauses = [jitter(3, "a", index, limit=0.5) for index in range(2000)]
    assert 0 <= min(pauses) < 0.01
    assert 0.49 < max(pauses) < 0.5
    assert abs(sum(pauses) / 2000 - 0.25) < 0.02


def test_coins_match_finds_one_wrong_order() -> None:
    pairs = [Pair(index=i, round=0, candidate_first=coin(5, "x", i), blocks=()) for i in range(10)]
    assert coins_match(5, "x", pairs)
    wrong = Pair(index=3, round=0, candidate_first=not coin(5, "x", 3), blocks=())
    assert not coins_match(5, "x", [*pairs[:3], wrong, *pairs[4:]])
    assert not coins_match(6, "x", pairs)
