"""The tail bound: LoadGen's published counts, and its confidence by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from strop.errors import MeasureError, UsageError
from strop.measure.tail import needed_calls, tail_bound


@pytest.mark.parametrize(("percentile", "calls"), [(0.9, 64), (0.97, 219), (0.99, 662), (0.999, 6636)])
def test_needed_calls_are_those_of_the_rules(percentile: float, calls: int) -> None:
    assert needed_calls(percentile) == calls
    assert stats.binom.cdf(1, calls, 1 - percentile) <= 0.01 < stats.binom.cdf(1, calls - 1, 1 - percentile)


def test_more_calls_over_the_percentile_need_more_calls() -> None:
    assert [needed_calls(0.9, over) for over in (0, 1, 2)] == [44, 64, 81]


def test_too_few_calls_give_no_bound_and_say_how_many_are_needed() -> None:
    found = tail_bound([0.01] * 63, 0.9)
    assert (found.bound, found.calls, found.needed) == (None, 63, 64)


def test_the_bound_steps_down_from_the_largest_call() -> None:
    assert tail_bound(range(1, 65), 0.9).bound == 64
    assert tail_bound(range(1, 81), 0.9).bound == 80
    assert tail_bound(range(1, 82), 0.9).bound == 80
    assert tail_bound(list(range(81, 0, -1)), 0.9).bound == 80


@pytest.mark.parametrize("n", [64, 150, 1000])
def test_the_true_percentile_lies_under_the_bound_99_times_in_100(n: int) -> None:
    generator = np.random.default_rng(n)
    missed = sum((tail_bound(row, 0.9).bound or 0) < 0.9 for row in generator.random((4000, n)))
    assert missed <= 40 + 4 * math.sqrt(40)


def test_many_calls_bring_the_bound_near_the_percentile() -> None:
    calls = np.random.default_rng(0).random(100_000)
    assert tail_bound(calls, 0.99).bound == pytest.approx(0.99, abs=0.002)


def test_bad_input_is_refused() -> None:
    with pytest.raises(MeasureError, match="not a finite number"):
        tail_bound([math.nan] * 100, 0.9)
    for percentile in (0.0, 1.0, 99.0):
        with pytest.raises(UsageError, match="lie between 0 and 1"):
            tail_bound([1.0] * 100, percentile)
