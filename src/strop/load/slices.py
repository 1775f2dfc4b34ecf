"""Intervals for what depends on its neighbours: requests that waited in one queue are not independent samples.

The run is cut into slices of equal time, and whole slices are drawn with replacement (Künsch, "The jackknife and the
bootstrap for general stationary observations", Annals of Statistics 17, 1989: blocks longer than the dependence).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strop.load.arrivals import FloatArray
from strop.measure.proportions import lower_share, upper_share
from strop.measure.result import Interval

SLICES, RESAMPLES, CONFIDENCE = 20, 1000, 0.95
FEWEST = 5
"""Slices with something in them below which no interval is given."""
ABOVE = 10
"""Values that must lie above a percentile before an interval of it is given."""

IntArray = NDArray[np.int64]


def slice_numbers(times: FloatArray, start: float, end: float) -> IntArray:
    """Return the slice, 0 … ``SLICES - 1``, in which each time lies."""
    return np.clip((times - start) / (end - start) * SLICES, 0, SLICES - 1).astype(np.int64)


def draw_slices(seed: int = 0) -> IntArray:
    """Return how often each slice is drawn in each resample: (resamples, slices)."""
    return np.random.default_rng(seed).multinomial(SLICES, np.full(SLICES, 1 / SLICES), size=RESAMPLES)


def percentile_intervals(values: FloatArray, slices: IntArray, shares: Sequence[float]) -> list[Interval | None]:
    """Return the interval of each percentile; ``None`` where the values do not support one.

    Args:
        values: what was measured, any unit.
        slices: the slice of each value.
        shares: for instance 0.5 and 0.99.
    """
    if len(np.unique(slices)) < FEWEST:
        return [None] * len(shares)
    order = np.argsort(values)
    ordered, home = values[order], slices[order]
    drawn = np.full((RESAMPLES, len(shares)), np.nan)
    for place, weights in enumerate(draw_slices()):
        mass = np.cumsum(weights[home])
        if mass[-1]:
            drawn[place] = ordered[np.searchsorted(mass, np.asarray(shares) * mass[-1])]
    tail = (1 - CONFIDENCE) / 2
    bounds = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    estimates = np.quantile(values, shares, method="inverted_cdf")
    return [
        Interval(low=float(min(low, at)), estimate=float(at), high=float(max(high, at)), confidence=CONFIDENCE)
        if len(values) * (1 - share) >= ABOVE
        else None
        for share, at, low, high in zip(shares, estimates, bounds[0], bounds[1], strict=True)
    ]


def share_interval(good: NDArray[np.bool_], slices: IntArray) -> Interval:
    """Return the share that is good, with an interval never narrower than independent samples would give (Clopper–Pearson)."""
    count, total = int(good.sum()), len(good)
    tail = (1 - CONFIDENCE) / 2
    low, high = lower_share(count, total, tail), upper_share(count, total, tail)
    if len(np.unique(slices)) >= FEWEST:
        weights = draw_slices()
        hits = weights @ np.bincount(slices[good], minlength=SLICES)
        sizes = weights @ np.bincount(slices, minlength=SLICES)
        drawn = np.quantile(hits[sizes > 0] / sizes[sizes > 0], [tail, 1 - tail])
        low, high = min(low, float(drawn[0])), max(high, float(drawn[1]))
    return Interval(low=low, estimate=count / total, high=high, confidence=CONFIDENCE)
