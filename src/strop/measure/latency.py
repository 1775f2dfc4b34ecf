"""Latency of one arm: median with an interval that assumes no distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, stdtrit

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


def median_latency(rounds: Sequence[Sequence[Sequence[float]]], confidence: float = 0.95) -> Interval:
    """Return the median of all calls, with an interval that does not take the calls of one process for independent.

    A process keeps its luck (where its memory came to lie) for as long as it lives, however many calls it makes. So the
    interval is Student's over the logarithms of the rounds' medians, or, of a single round, that of its blocks' medians.

    Args:
        rounds: calls above 0 of each block of each round, each round on fresh processes.
        confidence: two-sided.
    """
    filled = [[block for block in blocks if len(block)] for blocks in rounds]
    calls = [np.concatenate(blocks) for blocks in filled if blocks]
    estimate = float(np.median(np.concatenate(calls)))
    if len(calls) == 1:
        found = median_interval([float(np.median(block)) for blocks in filled for block in blocks], confidence)
        low, high, confidence = found.low, found.high, found.confidence
    else:
        logs = np.log([float(np.median(values)) for values in calls])
        half = float(stdtrit(len(logs) - 1, (1 + confidence) / 2)) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
        low, high = math.exp(logs.mean() - half), math.exp(logs.mean() + half)
    return Interval(low=min(low, estimate), estimate=estimate, high=max(high, estimate), confidence=confidence)


def call_seconds(pairs: Sequence[Pair], arm: str, point: str) -> list[list[float]]:
    """Return the calls of one arm at one operating point, block by block, in seconds."""
    return [
        [ns / 1e9 for ns in block.calls_ns] for pair in pairs for block in pair.blocks if (block.arm, block.point) == (arm, point)
    ]
