"""Counting by size."""

from __future__ import annotations

import itertools

import numpy as np

from strop.serve.histogram import SECONDS, Histogram, percentile


def test_a_value_on_a_bound_counts_below_it_and_large_ones_at_the_end() -> None:
    kept = Histogram((1, 2))
    for value in (0.5, 1.0, 1.5, 7.0):
        kept.add(value)
    assert kept.cumulative() == [("1", 2.0), ("2", 3.0), ("+Inf", 4.0)]
    assert (kept.count, kept.total) == (4, 10.0)


def test_percentiles_are_those_of_the_values_within_a_class() -> None:
    kept = Histogram((1, 2, 4))
    for value in (0.5, 1.5, 1.5, 3.0):
        kept.add(value)
    assert kept.counts == (1, 2, 1, 0)
    assert [percentile(kept.bounds, kept.counts, share) for share in (0.25, 0.5, 0.75, 1.0)] == [1.0, 1.5, 2.0, 4.0]
    assert percentile((1, 2), (0, 0, 0), 0.5) is None
    assert percentile((1, 2), (1, 0, 9), 0.99) == 2.0, "all that is known of a value above the last bound"


def test_bounds_of_times_are_close_enough_for_percentiles() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
    assert all(after <= 2 * before for before, after in itertools.pairwise(SECONDS))
    random = np.random.default_rng(0)
    values = random.lognormal(-4.0, 0.6, 5000)
    kept = Histogram(SECONDS)
    for value in values:
        kept.add(float(value))
    for share in (0.5, 0.9, 0.99):
        estimate = percentile(kept.bounds, kept.counts, share)
        assert estimate is not None and abs(estimate / np.quantile(values, share) - 1) < 0.15
