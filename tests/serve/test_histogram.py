"""Counting by size."""

from __future__ import annotations

from strop.serve.histogram import Histogram


def test_a_value_on_a_bound_counts_below_it_and_large_ones_at_the_end() -> None:
    kept = Histogram((1, 2))
    for value in (0.5, 1.0, 1.5, 7.0):
        kept.add(value)
    assert kept.cumulative() == [("1", 2.0), ("2", 3.0), ("+Inf", 4.0)]
    assert (kept.count, kept.total) == (4, 10.0)
