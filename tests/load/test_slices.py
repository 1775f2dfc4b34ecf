from __future__ import annotations

import numpy as np

from strop.load.slices import SLICES, percentile_intervals, share_interval, slice_numbers


def dependent(seed: int, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Latencies that wander: neighbours wait in the same queue. The true median is 1."""
    generator = np.random.default_rng(seed)
    level = np.repeat(generator.standard_normal(SLICES), count // SLICES)
    return np.exp(0.3 * level + 0.05 * generator.standard_normal(count)), np.repeat(np.arange(SLICES), count // SLICES)


def test_slices_are_equal_parts_of_time() -> None:
    assert slice_numbers(np.array([2.0, 2.99, 3.0, 21.9, 22.0]), 2.0, 22.0).tolist() == [0, 0, 1, 19, 19]


def test_the_interval_holds_the_median_of_dependent_latencies_about_as_often_as_promised() -> None:
    """Intervals that take neighbours for independent hold it in fewer than one run of five here."""
    held = 0
    for seed in range(100):
        interval = percentile_intervals(*dependent(seed), [0.5])[0]
        assert interval is not None
        held += interval.low <= 1.0 <= interval.high
    assert held >= 85


def test_percentiles_with_few_values_above_get_no_interval() -> None:
    values, slices = np.arange(500.0), np.repeat(np.arange(SLICES), 25)
    found = percentile_intervals(values, slices, [0.5, 0.98, 0.99])
    assert [interval is not None for interval in found] == [True, True, False]


def test_an_estimate_lies_in_its_interval_and_is_a_measured_value() -> None:
    values, slices = dependent(1)
    for interval in percentile_intervals(values, slices, [0.5, 0.9, 0.99]):
        assert interval is not None
        assert interval.low <= interval.estimate <= interval.high
        assert interval.estimate in values


def test_too_few_slices_give_no_interval() -> None:
    assert percentile_intervals(np.arange(100.0), np.repeat([0, 1, 2, 3], 25), [0.5]) == [None]


def test_a_share_is_never_more_certain_than_independent_samples_allow() -> None:
    everything = share_interval(np.ones(20, dtype=bool), np.arange(20))
    assert everything.estimate == everything.high == 1.0
    assert everything.low < 0.9


def test_a_share_that_comes_in_stretches_is_less_certain() -> None:
    slices = np.repeat(np.arange(SLICES), 100)
    mixed = share_interval(np.arange(2000) % 2 == 0, slices)
    stretches = share_interval(slices % 2 == 0, slices)
    assert mixed.estimate == stretches.estimate == 0.5
    assert stretches.high - stretches.low > 4 * (mixed.high - mixed.low)
