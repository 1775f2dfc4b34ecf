"""What measuring produces is plain data that comes back from JSON as it was."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.measure.result import Block, Comparison, Counters, Finding, Interval, Pair, Verdict

WHOLE = st.integers(0, 2**62)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
COUNTERS = st.builds(
    Counters,
    wall_ns=WHOLE,
    own_cpu_ns=WHOLE,
    foreign_cpu_ns=WHOLE,
    steal_ns=WHOLE,
    major_faults=WHOLE,
    involuntary_switches=WHOLE,
)
BLOCKS = st.builds(
    Block,
    arm=st.sampled_from(["baseline", "candidate"]),
    point=TEXT,
    calls_ns=st.lists(WHOLE, max_size=4).map(tuple),
    counters=COUNTERS,
)
PAIRS = st.builds(
    Pair,
    index=WHOLE,
    round=WHOLE,
    candidate_first=st.booleans(),
    blocks=st.lists(BLOCKS, max_size=4).map(tuple),
    voided=st.none() | TEXT,
)
INTERVALS = st.builds(
    Interval, low=NUMBERS | st.just(-math.inf), estimate=NUMBERS, high=NUMBERS | st.just(math.inf), confidence=st.floats(0, 1)
)
COMPARISONS = st.builds(
    Comparison,
    point=TEXT,
    phase=st.sampled_from(["screen", "confirm"]),
    verdict=st.sampled_from(Verdict),
    speedup=INTERVALS,
    pairs=WHOLE,
    rounds=WHOLE,
    alpha=NUMBERS,
    delta=NUMBERS,
    evidence=st.dictionaries(TEXT, NUMBERS, max_size=3),
    findings=st.lists(st.builds(Finding, code=TEXT, message=TEXT, advice=TEXT), max_size=3).map(tuple),
)


def stored(value: Any) -> Any:
    """Return a value as it comes back from strict JSON."""
    return json.loads(json.dumps(value, allow_nan=False))


@given(PAIRS)
def test_a_pair_survives_json(pair: Pair) -> None:
    assert Pair.from_json(stored(pair.to_json())) == pair


@given(COMPARISONS)
def test_a_comparison_survives_json(comparison: Comparison) -> None:
    assert Comparison.from_json(stored(comparison.to_json())) == comparison


@given(INTERVALS)
def test_an_interval_survives_strict_json_with_its_open_sides(interval: Interval) -> None:
    assert Interval.from_json(stored(interval.to_json())) == interval


def test_an_unknown_estimate_stays_unknown() -> None:
    nothing = Interval(low=-math.inf, estimate=math.nan, high=math.inf, confidence=0.95)
    row = stored(nothing.to_json())
    assert row == {"low": None, "estimate": None, "high": None, "confidence": 0.95}
    back = Interval.from_json(row)
    assert math.isnan(back.estimate) and (back.low, back.high) == (-math.inf, math.inf)


def test_changing_what_came_out_does_not_change_the_record() -> None:
    evidence = {"e_faster": 20.0}
    comparison = Comparison(
        point="all",
        phase="screen",
        verdict=Verdict.FASTER,
        speedup=Interval(low=1.1, estimate=1.2, high=1.3, confidence=0.95),
        pairs=8,
        rounds=1,
        alpha=0.05,
        delta=0.02,
        evidence=evidence,
    )
    comparison.to_json()["evidence"]["e_faster"] = 0.0
    assert comparison.evidence == {"e_faster": 20.0}


@pytest.mark.parametrize("missing", ["index", "round", "candidate_first", "blocks", "voided"])
def test_a_row_that_lacks_a_field_is_no_pair(missing: str) -> None:
    row = Pair(index=0, round=0, candidate_first=True, blocks=()).to_json()
    del row[missing]
    with pytest.raises(KeyError, match=missing):
        Pair.from_json(row)


def test_an_unknown_verdict_is_no_comparison() -> None:
    assert {verdict.value for verdict in Verdict} == {"faster", "slower", "no worthwhile gain", "undecided", "invalid"}
    for verdict in Verdict:
        assert Verdict(verdict.value) is verdict
    with pytest.raises(ValueError, match="quick"):
        Verdict("quick")


@pytest.mark.parametrize(
    "value", [Counters(), Finding(code="a", message="b"), Interval(low=0, estimate=1, high=2, confidence=0.9)]
)
def test_results_cannot_be_changed(value: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, 5)
