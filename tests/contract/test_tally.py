"""Counts of what changed: order does not matter, nothing goes below zero, and zero is told apart from never asked."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.tally import Tally

COUNTS = st.lists(st.tuples(st.sampled_from(["conv2d+bn", "int8 Conv", "größe", " "]), st.integers(0, 50)), max_size=12)


@given(COUNTS, st.randoms())
def test_counts_add_up_in_any_order(counts: list[tuple[str, int]], random: object) -> None:
    one, other = Tally(), Tally()
    for what, count in counts:
        one.add(what, count)
    random.shuffle(counts)  # type: ignore[attr-defined]
    for what, count in counts:
        other.add(what, count)
    expected: Counter[str] = Counter()
    for what, count in counts:
        expected[what] += count
    assert one.to_json() == other.to_json() == dict(expected)
    assert one.total == sum(count for _, count in counts)
    assert list(one.to_json()) == sorted(one.to_json())


@given(COUNTS)
def test_a_tally_survives_json(counts: list[tuple[str, int]]) -> None:
    tally = Tally()
    for what, count in counts:
        tally.add(what, count)
    again = Tally(json.loads(json.dumps(tally.to_json())))
    assert again.to_json() == tally.to_json() and again.total == tally.total


def test_one_is_added_unless_said_otherwise() -> None:
    tally = Tally()
    tally.add("layers")
    tally.add("layers")
    assert tally.to_json() == {"layers": 2}


def test_zero_is_shown_and_is_still_no_effect() -> None:
    tally = Tally()
    assert tally.to_json() == {} and tally.total == 0
    tally.add("conv2d+bn", 0)
    assert tally.to_json() == {"conv2d+bn": 0} and tally.total == 0


def test_what_another_undid_is_taken_back() -> None:
    tally = Tally({"fused": 3})
    tally.remove("fused", 3)
    assert tally.total == 0


@pytest.mark.parametrize(("what", "count", "counted"), [("fused", 4, 3), ("never seen", 1, 0)])
def test_no_more_is_taken_back_than_was_counted(what: str, count: int, counted: int) -> None:
    tally = Tally({"fused": 3})
    with pytest.raises(ValueError, match=f"{count} × '{what}' taken back, only {counted} were counted"):
        tally.remove(what, count)
    assert tally.to_json() == {"fused": 3}, "and a refused removal changes nothing"


def test_a_tally_shares_nothing_with_what_it_was_made_of_or_gives_out() -> None:
    given_counts = Counter({"a": 1})
    tally = Tally(given_counts)
    tally.add("a")
    tally.to_json()["a"] = 99
    assert given_counts == {"a": 1} and tally.to_json() == {"a": 2}


def test_a_tally_shows_its_counts() -> None:
    assert repr(Tally({"b": 1, "a": 2})) == "Tally({'a': 2, 'b': 1})"
