"""Latency of one arm: median with an interval that assumes no distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

from strop.errors import MeasureError
from strop.measure.result import Interval, Pair


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the median and the order statistics that enclose the true one with at least ``confidence``.

    The number of values below the true median is Binomial(n, 1/2) whatever their distribution; with fewer than six values
    the interval is their range and its confidence is less than asked.

    Args:
        values: independent measurements, any unit.
        confidence: two-sided.

    Raises:
        MeasureError: there is no value.
    """
    if not len(values):
        raise MeasureError("a median needs at least one value")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    tail = (1 - confidence) / 2
    rank = max((k for k in range((count + 1) // 2) if k == 0 or bdtr(k, count, 0.5) <= tail), default=0)
    covered = 1 - 2 * float(bdtr(rank, count, 0.5))
    return Interval(
        low=float(ordered[rank]), estimate=float(np.median(ordered)), high=float(ordered[count - 1 - rank]), confidence=covered
    )


def call_seconds(pairs: Sequence[Pair], arm: str, point: str) -> list[list[float]]:
    """Return the calls of one arm at one operating point, block by block, in seconds."""
    return [
        [ns / 1e9 for ns in block.calls_ns] for pair in pairs for block in pair.blocks if (block.arm, block.point) == (arm, point)
    ]
