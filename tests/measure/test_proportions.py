"""Paired proportions: the score test against maximum likelihood, and exact bounds against the binomial."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from strop.errors import MeasureError
from strop.measure.proportions import lower_share, needed_examples, rare_bounds, tango_bounds, tango_z, upper_share

Z95 = float(special.ndtri(0.95))


def likelihood_z(b: int, c: int, n: int, d0: float) -> float:
    """The same score statistic with the constrained maximum found by search."""

    def negative(q: float) -> float:
        shares = (q, q + d0, 1 - 2 * q - d0)
        return -sum(count * math.log(max(share, 1e-300)) for count, share in zip((b, c, n - b - c), shares, strict=True) if count)

    low = max(0.0, -d0)
    q = float(optimize.minimize_scalar(negative, bounds=(low, (1 - d0) / 2), method="bounded", options={"xatol": 1e-12}).x)
    return (c - b - n * d0) / math.sqrt(n * (2 * q + d0 * (1 - d0)))


@pytest.mark.parametrize(
    ("b", "c", "n", "d0"), [(4, 0, 500, -0.01), (12, 9, 1500, -0.01), (30, 45, 800, 0.02), (3, 8, 100, -0.05)]
)
def test_score_uses_the_constrained_maximum_likelihood(b: int, c: int, n: int, d0: float) -> None:
    assert tango_z(b, c, n, d0) == pytest.approx(likelihood_z(b, c, n, d0), rel=1e-4)


def test_score_at_published_examples() -> None:
    assert tango_z(0, 0, 300, -0.01) == pytest.approx(1.74, abs=0.005)
    assert tango_z(4, 0, 500, -0.01) == pytest.approx(0.45, abs=0.005)


def test_score_without_any_difference() -> None:
    assert tango_z(0, 0, 50, 0.0) == 0.0
    assert tango_z(0, 0, 300, 0.01) < 0 < tango_z(0, 0, 300, -0.01)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(61, 2000))
@settings(deadline=None, max_examples=60)
def test_bounds_are_where_the_test_turns(b: int, c: int, n: int) -> None:
    low, high = tango_bounds(b, c, n, 0.05)
    assert -1 <= low <= (c - b) / n <= high <= 1
    assert tango_z(b, c, n, low - 1e-6) > Z95 > tango_z(b, c, n, low + 1e-6)
    assert tango_z(b, c, n, high + 1e-6) < -Z95 < tango_z(b, c, n, high - 1e-6)
    assert tango_bounds(c, b, n, 0.05) == pytest.approx((-high, -low), abs=1e-6)


@given(st.integers(0, 40), st.integers(41, 3000))
def test_shares_are_clopper_pearson(count: int, n: int) -> None:
    upper, lower = upper_share(count, n, 0.05), lower_share(count, n, 0.05)
    assert stats.binom.cdf(count, n, upper) == pytest.approx(0.05)
    if count:
        assert stats.binom.sf(count - 1, n, lower) == pytest.approx(0.05)
    else:
        assert lower == 0.0
    assert upper_share(n, n, 0.05) == 1.0


@pytest.mark.parametrize(("n", "share"), [(299, 0.01), (598, 0.005), (2995, 0.001)])
def test_no_difference_in_enough_examples_bounds_the_loss(n: int, share: float) -> None:
    assert upper_share(0, n, 0.05) <= share < upper_share(0, n - 1, 0.05)
    assert rare_bounds(0, 0, n, 0.05)[0] == -upper_share(0, n, 0.05)


@pytest.mark.parametrize(
    ("discordance", "margin", "n"),
    [(0.02, 0.01, 1237), (0.05, 0.01, 3092), (0.01, 0.005, 2474), (0.0, 0.01, 299), (0.0, 0.001, 2995)],
)
def test_needed_examples(discordance: float, margin: float, n: int) -> None:
    assert needed_examples(discordance, margin) == n


def test_needed_examples_give_the_power_they_promise() -> None:
    generator = np.random.default_rng(0)
    n = needed_examples(0.04, 0.01)
    b, c, _ = generator.multinomial(n, [0.02, 0.02, 0.96], 2000).T
    power = np.mean([tango_z(int(i), int(j), n, -0.01) > Z95 for i, j in zip(b, c, strict=True)])
    assert 0.77 <= power <= 0.84


def test_equality_cannot_be_proven() -> None:
    with pytest.raises(MeasureError, match="more than 0"):
        needed_examples(0.01, 0.0)


def guard_holds(b: int, c: int, n: int, margin: float) -> bool:
    return rare_bounds(b, c, n, 0.05)[0] >= -margin if b + c < 10 else tango_z(b, c, n, -margin) > Z95


@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("margin", [0.005, 0.01, 0.02, 0.05])
def test_type_one_error_by_exact_enumeration(n: int, margin: float) -> None:
    """A candidate that is exactly the margin worse passes at most 6 times in 100, at every discordance."""
    top = n // 4 + 15
    holds = np.array([[guard_holds(b, c, n, margin) for c in range(top)] for b in range(top)])
    b, c = np.meshgrid(np.arange(top), np.arange(top), indexing="ij")
    for discordance in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
        if discordance < margin:
            continue
        lost, won = (discordance + margin) / 2, (discordance - margin) / 2
        chance = stats.binom.pmf(b, n, lost) * stats.binom.pmf(c, n - b, won / (1 - lost))
        assert chance.sum() == pytest.approx(1.0, abs=1e-6)
        assert chance[holds].sum() <= 0.06
