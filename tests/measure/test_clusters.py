"""Sources as units: textbook bounds, design effects between none and whole, and named mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from strop.errors import MeasureError
from strop.measure.clusters import LIKENESS_FLOOR, cluster_bounds, design_effect, source_numbers


def test_sources_are_numbered_in_order_of_appearance() -> None:
    numbers = source_numbers(["b", "a", "b", "c"], 4, "m")
    assert numbers is not None
    assert numbers.tolist() == [0, 1, 0, 2]
    assert source_numbers(None, 4, "m") is None
    assert source_numbers([3, 1, 2], 3, "m") is None


@pytest.mark.parametrize(
    ("names", "n", "says"), [(["a", "b"], 3, "2 sources were named for 3"), (["a"] * 3, 3, "from one source")]
)
def test_mistakes_are_named(names: list[str], n: int, says: str) -> None:
    with pytest.raises(MeasureError, match=says):
        source_numbers(names, n, "m")


def test_one_example_a_source_is_the_paired_t_test() -> None:
    difference = np.random.default_rng(0).normal(0.1, 1, 50)
    low, high = cluster_bounds(difference, np.arange(50), 0.05)
    reference = stats.ttest_1samp(difference, 0).confidence_interval(0.9)
    assert (low, high) == pytest.approx((reference.low, reference.high))


def test_equal_sources_are_a_t_test_of_their_means() -> None:
    difference = np.random.default_rng(1).normal(0, 1, (12, 5))
    low, high = cluster_bounds(difference.ravel(), np.repeat(np.arange(12), 5), 0.05)
    reference = stats.ttest_1samp(difference.mean(axis=1), 0).confidence_interval(0.9)
    assert (low, high) == pytest.approx((reference.low, reference.high))


def test_unequal_sources_cover_the_mean_of_the_examples() -> None:
    generator = np.random.default_rng(2)
    missed = 0
    for _ in range(1000):
        sizes = generator.integers(1, 12, 40)
        groups = np.repeat(np.arange(40), sizes)
        difference = generator.normal(0, 1, 40)[groups] + generator.normal(0, 1, len(groups))
        missed += cluster_bounds(difference, groups, 0.05)[0] > 0
    assert missed <= 75


def test_design_effect_runs_from_the_floor_to_the_size() -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(200), 10)
    assert design_effect(np.zeros(2000), groups) == pytest.approx(1 + 9 * LIKENESS_FLOOR)
    assert design_effect(generator.normal(0, 1, 2000), groups) == pytest.approx(1 + 9 * LIKENESS_FLOOR)
    alike = np.repeat(generator.normal(0, 1, 200), 10)
    assert design_effect(alike, groups) == pytest.approx(10)
    half = alike + generator.normal(0, 1, 2000)
    assert design_effect(half, groups) == pytest.approx(1 + 9 * 0.5, rel=0.15)
