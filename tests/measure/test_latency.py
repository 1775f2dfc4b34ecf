"""The median of one arm: its interval holds what it promises, whatever the distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import MeasureError
from strop.measure.latency import call_seconds, median_interval, median_latency
from strop.measure.result import Block, Interval, Pair

VALUES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


def ranks(interval: Interval, count: int) -> tuple[int, int]:
    """Return how many of the values ``0 … count - 1`` lie below and above the interval."""
    return round(interval.low), count - 1 - round(interval.high)


def miss(below: int, count: int) -> float:
    """Return the probability that ``below`` values or fewer of ``count`` lie under the true median."""
    return float(sum(math.comb(count, k) for k in range(below + 1)) / 2**count)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 10, 25, 100, 101])
def test_the_confidence_is_that_of_the_order_statistics_and_no_narrower_pair_has_it(count: int, confidence: float) -> None:
    found = median_interval(range(count), confidence)
    below, above = ranks(found, count)
    assert below == above
    assert found.confidence == pytest.approx(1 - 2 * miss(below, count), abs=1e-12)
    if below:
        assert found.confidence >= confidence
    if 2 * (below + 1) < count:
        assert 1 - 2 * miss(below + 1, count) < confidence, "one place further in would promise too much"


@pytest.mark.parametrize(("count", "below"), [(6, 0), (8, 0), (9, 1), (10, 1), (20, 5), (50, 17), (100, 39)])
def test_the_places_are_those_of_published_tables(count: int, below: int) -> None:
    """The 95 % interval of a median by the sign test."""
    assert ranks(median_interval(range(count)), count) == (below, below)


@pytest.mark.parametrize("draw", ["exponential", "standard_cauchy", "standard_normal"])
@pytest.mark.parametrize("count", [8, 12, 31])
def test_the_true_median_is_enclosed_as_often_as_promised(draw: str, count: int) -> None:
    median = math.log(2) if draw == "exponential" else 0.0
    samples = getattr(np.random.default_rng(5), draw)(size=(3000, count))
    found = [median_interval(sample) for sample in samples]
    enclosed = float(np.mean([one.low <= median <= one.high for one in found]))
    spread = math.sqrt(found[0].confidence * (1 - found[0].confidence) / len(found))
    assert abs(enclosed - found[0].confidence) < 4 * spread


@given(VALUES, st.randoms())
def test_order_does_not_matter_and_the_median_lies_inside(values: list[float], random: object) -> None:
    found = median_interval(values)
    assert found.low <= found.estimate <= found.high
    assert found.estimate == float(np.median(values))
    assert {found.low, found.high} <= set(values)
    random.shuffle(values)  # type: ignore[attr-defined]
    assert median_interval(values) == found


@given(VALUES, st.sampled_from([2.0, 0.5, 1024.0]))
def test_another_unit_scales_everything_but_the_confidence(values: list[float], factor: float) -> None:
    one, other = median_interval(values), median_interval([value * factor for value in values])
    assert (other.low, other.estimate, other.high) == (one.low * factor, one.estimate * factor, one.high * factor)
    assert other.confidence == one.confidence


def test_few_values_give_their_range_and_say_how_little_that_is_worth() -> None:
    assert median_interval([3.0]) == Interval(low=3.0, estimate=3.0, high=3.0, confidence=0.0)
    assert median_interval([1.0, 2.0]) == Interval(low=1.0, estimate=1.5, high=2.0, confidence=0.5)
    assert median_interval([5.0, 1.0, 3.0, 2.0, 4.0]).confidence == 1 - 2 * 0.5**5 < 0.95


def test_no_value_has_no_median() -> None:
    with pytest.raises(MeasureError, match="at least one value"):
        median_interval([])
    with pytest.raises(MeasureError, match="at least one value"):
        median_interval(np.zeros(0))  # type: ignore[arg-type]


def pair(index: int, calls: Sequence[int], voided: str | None = None) -> Pair:
    blocks = tuple(
        Block(arm=arm, point=point, calls_ns=tuple(ns + shift for ns in calls))
        for shift, (arm, point) in enumerate((a, p) for a in ("baseline", "candidate") for p in ("one", "two"))
    )
    return Pair(index=index, round=0, candidate_first=False, blocks=blocks, voided=voided)


def test_calls_are_taken_of_one_arm_at_one_point_block_by_block_in_seconds() -> None:
    pairs = [pair(0, (10**9, 2 * 10**9)), pair(1, (5 * 10**8,))]
    assert call_seconds(pairs, "baseline", "one") == [[1.0, 2.0], [0.5]]
    assert call_seconds(pairs, "candidate", "two") == [[(10**9 + 3) / 1e9, (2 * 10**9 + 3) / 1e9], [(5 * 10**8 + 3) / 1e9]]
    assert call_seconds(pairs, "baseline", "three") == call_seconds([], "baseline", "one") == []


def test_the_median_over_processes_lies_in_its_interval_as_often_as_it_says() -> None:
    """Processes differ by 5 %, their calls by 1 %: an interval of all calls as if independent would hold in one case of ten."""
    generator, held, pooled = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        luck = generator.normal(0, 0.05, 5)
        rounds = [[np.exp(own + generator.normal(0, 0.01, 10)) for _ in range(4)] for own in luck]
        found, naive = median_latency(rounds), median_interval(np.concatenate([c for r in rounds for c in r]).tolist())
        held += found.low <= 1.0 <= found.high
        pooled += naive.low <= 1.0 <= naive.high
        assert found.low <= found.estimate <= found.high
    assert 930 <= held <= 970 and pooled < 700


def test_of_one_round_the_blocks_count() -> None:
    found = median_latency([[[1.0, 1.1, 1.2]] * 3 + [[2.0, 2.1, 2.2]] * 3, []])
    assert (found.low, found.high) == (1.1, 2.1) and found.confidence == pytest.approx(1 - 2 * 0.5**6)
