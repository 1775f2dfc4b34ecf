"""From pairs of blocks to log-ratios, and their robust mean.

The number that everything else rests on is ``y = ln(candidate time) - ln(baseline time)`` of one pair. Its order was
decided by a fair coin, so ``y`` is symmetric about the true log-ratio whatever the machine did meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strop.errors import MeasureError
from strop.measure.plan import Metric
from strop.measure.result import Block, Pair

FloatArray = NDArray[np.float64]

ALL = "all"
"""Name of the mean over all operating points."""

HALF = 0.5
"""Added to counts, so that a window in which nothing was answered in time has a logarithm too (Haldane 1956, Anscombe 1956)."""

MAD_TO_SIGMA = 1.4826
"""Scale that turns a median absolute deviation into the standard deviation of a normal sample."""


def log_ratios(pairs: Sequence[Pair], point: str, metric: Metric, *, voided: bool = False) -> FloatArray:
    """Return ``y`` of each pair at ``point``, in order of the pairs.

    Args:
        pairs: what was measured.
        point: an operating point, or ``"all"`` for the mean of ``y`` over the points.
        metric: ``"latency"``: the median over the calls ``j`` of ``ln(tC_j / tB_j)``, paired by input because inputs have
            different natural lengths; ``"throughput"``: ``ln(sum tC / sum tB)``; ``"goodput"``: ``ln(nB / nC)``, the
            numbers of calls, of which more is better: time for each call that a window of one length holds.
        voided: keep the voided pairs too.

    Raises:
        MeasureError: a pair lacks a block of the point, its blocks differ in their number of calls, or a time is not positive.
    """
    kept = [pair for pair in pairs if voided or pair.voided is None]
    return np.array([_pair_ratio(pair, point, metric) for pair in kept], dtype=np.float64)


def huber(y: FloatArray, tuning: float = 1.5, steps: int = 30) -> tuple[FloatArray, FloatArray]:
    """Return the Huber mean over the last axis and its standard error.

    Values further than ``tuning`` scaled median absolute deviations from the mean are pulled in, never dropped (Huber,
    "Robust estimation of a location parameter", 1964). Both results have the shape of ``y`` without its last axis.
    """
    y = np.asarray(y, dtype=np.float64)
    centre = np.median(y, axis=-1, keepdims=True)
    reach = np.maximum(tuning * MAD_TO_SIGMA * np.median(np.abs(y - centre), axis=-1, keepdims=True), 1e-12)
    for _ in range(steps):
        centre = centre + np.mean(np.clip(y - centre, -reach, reach), axis=-1, keepdims=True)
    residual = np.clip(y - centre, -reach, reach)
    inside = np.maximum(np.mean(np.abs(y - centre) <= reach, axis=-1), 0.5)
    count = y.shape[-1]
    error = np.sqrt(np.sum(residual**2, axis=-1) / max(count - 1, 1) / count) / inside
    return centre[..., 0], error


def spread(y: FloatArray) -> float:
    """Return the scaled median absolute deviation of ``y`` (0 for fewer than two values)."""
    return float(MAD_TO_SIGMA * np.median(np.abs(y - np.median(y)))) if len(y) > 1 else 0.0


def _pair_ratio(pair: Pair, point: str, metric: Metric) -> float:
    if point == ALL:
        points = dict.fromkeys(block.point for block in pair.blocks)
        return float(np.mean([_pair_ratio(pair, name, metric) for name in points]))
    if metric == "goodput":
        before, after = (len(_block(pair, arm, point).calls_ns) for arm in ("baseline", "candidate"))
        return float(np.log((before + HALF) / (after + HALF)))
    baseline, candidate = (_calls(pair, arm, point) for arm in ("baseline", "candidate"))
    if baseline.shape != candidate.shape:
        raise MeasureError(
            f"pair {pair.index} at {point!r} holds {baseline.size} baseline and {candidate.size} candidate calls; "
            "both arms must run the same inputs"
        )
    if metric == "throughput":
        return float(np.log(candidate.sum() / baseline.sum()))
    return float(np.median(np.log(candidate / baseline)))


def _block(pair: Pair, arm: str, point: str) -> Block:
    found: list[Block] = [block for block in pair.blocks if block.arm == arm and block.point == point]
    if len(found) != 1:
        raise MeasureError(f"pair {pair.index} holds {len(found)} {arm} blocks at {point!r}; one was expected")
    return found[0]


def _calls(pair: Pair, arm: str, point: str) -> FloatArray:
    calls = np.array(_block(pair, arm, point).calls_ns, dtype=np.float64)
    if calls.size == 0 or calls.min() <= 0:
        raise MeasureError(f"the {arm} block of pair {pair.index} at {point!r} holds no call, or one without a positive time")
    return calls
