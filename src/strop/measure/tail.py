"""A tail latency that is honest about the number of calls: the one-sided bound of MLPerf's LoadGen.

With ``t`` calls over the unknown percentile, ``n`` calls suffice when ``BinomCDF(t; n, 1 - p) <= 1 - c``. The value
given drops the ``t - 1`` largest calls and takes the largest of the rest; with confidence ``c`` the true percentile is
no higher (inference rules, appendix "early stopping"). The bound holds for one look at independent calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from strop.errors import MeasureError, UsageError
from strop.units import Seconds

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """An upper bound of a latency percentile.

    Attributes:
        percentile: for instance 0.9.
        bound: seconds that the percentile does not exceed, or ``None`` when there are too few calls.
        calls: calls seen.
        needed: calls needed for a bound.
        confidence: of the bound.
    """

    percentile: float
    bound: Seconds | None
    calls: int
    needed: int
    confidence: float


def needed_calls(percentile: float, over: int = 1, confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of calls that supports ``over`` calls above the percentile.

    Raises:
        UsageError: the percentile or the confidence does not lie between 0 and 1.
    """
    if not (0 < percentile < 1 and 0 < confidence < 1):
        raise UsageError(f"percentile and confidence lie between 0 and 1; got {percentile} and {confidence}")
    low, high = over, over + 1
    while special.bdtr(over, high, 1 - percentile) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if special.bdtr(over, middle, 1 - percentile) > 1 - confidence else (low, middle)
    return high


def tail_bound(seconds: Sequence[float], percentile: float, confidence: float = CONFIDENCE) -> Tail:
    """Return the upper bound of a latency percentile from the calls' times.

    Raises:
        MeasureError: a time is not a finite number.
        UsageError: the percentile or the confidence does not lie between 0 and 1.
    """
    times = np.sort(np.asarray(seconds, dtype=np.float64))[::-1]
    if not np.isfinite(times).all():
        raise MeasureError("a call's time is not a finite number")
    needed = needed_calls(percentile, 1, confidence)
    if len(times) < needed:
        return Tail(percentile=percentile, bound=None, calls=len(times), needed=needed, confidence=confidence)
    low, high = 1, max(2, math.ceil(len(times) * (1 - percentile)) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if special.bdtr(middle, len(times), 1 - percentile) <= 1 - confidence else (low, middle)
    return Tail(percentile=percentile, bound=float(times[low - 1]), calls=len(times), needed=needed, confidence=confidence)
