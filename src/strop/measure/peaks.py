"""Peak memory of two arms: exact for the framework's own counts, complete separation for whole processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from strop.errors import MeasureError
from strop.measure.result import Interval, Verdict
from strop.units import Bytes, Ratio

RUNS = 5
MARGIN = 0.03


def process_peaks(baseline: Sequence[Bytes], candidate: Sequence[Bytes], margin: Ratio = MARGIN) -> tuple[Verdict, Interval]:
    """Return whether the candidate's processes need less memory, and the ratio baseline / candidate.

    FASTER (to be read as smaller) when *every* candidate peak lies below ``1 - margin`` times the smallest baseline
    peak; with five fresh processes each, chance alone does this once in 252 times. SLOWER (larger) the other way
    round. NO_GAIN when even the best candidate peak is not below ``1 - margin`` times the worst baseline peak, else
    UNDECIDED. The interval is the smallest and the largest ratio seen; its confidence is that of complete separation.

    Raises:
        MeasureError: fewer than five peaks on a side, or a peak that is not positive.
    """
    if min(len(baseline), len(candidate)) < RUNS or min(*baseline, *candidate) <= 0:
        raise MeasureError(
            f"process peaks need {RUNS} fresh processes of each arm, and positive sizes; "
            f"got {list(baseline)} and {list(candidate)}"
        )
    ratio = Interval(
        low=min(baseline) / max(candidate),
        estimate=sorted(baseline)[len(baseline) // 2] / sorted(candidate)[len(candidate) // 2],
        high=max(baseline) / min(candidate),
        confidence=1 - 2 / math.comb(len(baseline) + len(candidate), len(baseline)),
    )
    if max(candidate) < (1 - margin) * min(baseline):
        return Verdict.FASTER, ratio
    if max(baseline) < (1 - margin) * min(candidate):
        return Verdict.SLOWER, ratio
    return (Verdict.NO_GAIN if min(candidate) > (1 - margin) * max(baseline) else Verdict.UNDECIDED), ratio


def exact_peaks(baseline: Bytes, candidate: Bytes, margin: Ratio = 0.0) -> Verdict:
    """Return the verdict on deterministic counts, where one run of each arm is enough (FASTER is to be read as smaller)."""
    if baseline < 0 or candidate < 0:
        raise MeasureError(f"peaks are sizes in bytes; got {baseline} and {candidate}")
    if candidate < (1 - margin) * baseline:
        return Verdict.FASTER
    return Verdict.SLOWER if baseline < (1 - margin) * candidate else Verdict.NO_GAIN
