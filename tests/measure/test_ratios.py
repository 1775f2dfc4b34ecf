"""Log-ratios and their robust mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import MeasureError
from strop.measure.ratios import huber, log_ratios, spread
from strop.measure.result import Block, Pair


def pair(baseline: dict[str, tuple[int, ...]], candidate: dict[str, tuple[int, ...]], voided: str | None = None) -> Pair:
    blocks = [Block(arm="candidate", point=point, calls_ns=calls) for point, calls in candidate.items()]
    blocks += [Block(arm="baseline", point=point, calls_ns=calls) for point, calls in baseline.items()]
    return Pair(index=0, round=0, candidate_first=True, blocks=tuple(blocks), voided=voided)


def test_latency_pairs_calls_by_input() -> None:
    """A block median of raw times would compare a short input with a long one; the calls are paired instead."""
    one = pair({"p": (100, 1000, 10_000)}, {"p": (900, 100, 5000)})
    assert log_ratios([one], "p", "latency")[0] == pytest.approx(math.log(0.5))


def test_throughput_compares_total_times() -> None:
    one = pair({"p": (100, 1000, 10_000)}, {"p": (50, 500, 40_000)})
    assert log_ratios([one], "p", "throughput")[0] == pytest.approx(math.log(40_550 / 11_100))


def test_all_is_the_mean_over_points() -> None:
    one = pair({"p": (100,), "q": (100,)}, {"p": (50,), "q": (200,)})
    assert log_ratios([one], "all", "latency")[0] == pytest.approx(0.0)
    assert log_ratios([one], "q", "latency")[0] == pytest.approx(math.log(2))


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)), min_size=1, max_size=9))
def test_swapping_the_arms_flips_the_sign_exactly(calls: list[tuple[int, int]]) -> None:
    left, right = (tuple(c[i] for c in calls) for i in (0, 1))
    there = log_ratios([pair({"p": left}, {"p": right})], "p", "latency")[0]
    back = log_ratios([pair({"p": right}, {"p": left})], "p", "latency")[0]
    assert there == pytest.approx(-back, abs=1e-12)


def test_voided_pairs_are_left_out_unless_asked_for() -> None:
    pairs = [pair({"p": (100,)}, {"p": (50,)}), pair({"p": (100,)}, {"p": (900,)}, voided="both: busy")]
    assert len(log_ratios(pairs, "p", "latency")) == 1
    assert len(log_ratios(pairs, "p", "latency", voided=True)) == 2


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (pair({"p": (1, 2)}, {"p": (1,)}), "2 baseline and 1 candidate calls"),
        (pair({}, {"p": (1,)}), "0 baseline blocks at 'p'"),
        (pair({"p": ()}, {"p": ()}), "holds no call"),
        (pair({"p": (0,)}, {"p": (1,)}), "without a positive time"),
    ],
)
def test_pairs_that_cannot_be_compared_are_refused(bad: Pair, says: str) -> None:
    with pytest.raises(MeasureError, match=says):
        log_ratios([bad], "p", "latency")


def test_huber_mean_withstands_spikes_and_keeps_clean_data() -> None:
    generator = np.random.default_rng(0)
    clean = generator.normal(-0.1, 0.02, (200, 16))
    mean, error = huber(clean)
    assert np.std(mean) == pytest.approx(0.02 / 4, rel=0.25)
    assert np.mean(error) == pytest.approx(0.02 / 4, rel=0.25)
    dirty = clean.copy()
    dirty[:, 3] += 5.0
    assert abs(np.median(huber(dirty)[0]) + 0.1) < 0.01
    assert np.median(dirty.mean(axis=1)) > 0.1


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.floats(-1, 1))
def test_huber_mean_moves_and_mirrors_with_the_data(values: list[float], shift: float) -> None:
    y = np.array(values)
    centre = huber(y)[0]
    assert y.min() - 1e-9 <= centre <= y.max() + 1e-9
    assert huber(y + shift)[0] == pytest.approx(centre + shift, abs=1e-6)
    assert huber(-y)[0] == pytest.approx(-centre, abs=1e-6)


def test_spread_is_the_deviation_of_a_normal_sample() -> None:
    assert spread(np.random.default_rng(1).normal(0, 0.03, 5000)) == pytest.approx(0.03, rel=0.05)
    assert spread(np.array([1.0])) == 0.0
