"""Giving up on a candidate's quality early. Looking often is free here, because only rejections come of it."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from strop.measure.proportions import tango_bounds
from strop.measure.ratios import FloatArray

FIRST_LOOK = 64
LEVEL = 0.01


def looks(n: int) -> tuple[int, ...]:
    """Return the numbers of examples after which to look: 64, 128, 256, … below ``n``."""
    return tuple(FIRST_LOOK * 2**k for k in range(64) if FIRST_LOOK * 2**k < n)


def hopeless(baseline: FloatArray, candidate: FloatArray, margin: float, *, higher_is_better: bool = True) -> bool:
    """Return whether the loss exceeds ``margin`` with 99 % confidence on the examples seen so far, in random order.

    Scores that are not finite numbers are hopeless. Fewer than 64 examples never are.
    """
    left, right = (np.asarray(scores, dtype=np.float64).ravel() for scores in (baseline, candidate))
    n = len(left)
    if n < FIRST_LOOK:
        return False
    difference = (right - left) if higher_is_better else (left - right)
    if not np.isfinite(difference).all():
        return True
    if np.isin(difference, (-1, 0, 1)).all():
        return tango_bounds(int((difference < 0).sum()), int((difference > 0).sum()), n, LEVEL)[1] < -margin
    error = float(difference.std(ddof=1)) / math.sqrt(n)
    return float(difference.mean()) + float(special.stdtrit(n - 1, 1 - LEVEL)) * error < -margin
