"""Confirming goodput: the ratio of two counts, of which one may be zero.

The logarithm of a ratio is no use where a server answers nothing in time for a whole round. The claim "more than ``g`` times
as many" is therefore tested as it stands: is the mean over the rounds of ``candidate - g * baseline`` more than zero? The
interval holds every ``g`` that this test does not refuse (Fieller, "Some problems in interval estimation", JRSS B 16, 1954).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from strop.measure.plan import ConfirmPlan
from strop.measure.ratios import FloatArray
from strop.measure.result import Interval, Verdict
from strop.units import Ratio

FARTHEST: Ratio = 1e3
"""A ratio beyond which an interval is unbounded."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What both arms answered in time in the windows of one round, in the order of the pairs."""

    baseline: FloatArray
    candidate: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodputStatistics:
    """What the rounds say about candidate / baseline.

    Attributes:
        ratio: of the totals; infinite where the baseline answered nothing.
        verdict: by one-sided tests at the plan's alpha.
        speedup: two-sided interval of the ratio.
        rounds: rounds used.
    """

    ratio: Ratio
    verdict: Verdict
    speedup: Interval
    rounds: int


def goodput_statistics(rounds: Sequence[Counts], plan: ConfirmPlan) -> GoodputStatistics:
    """Judge rounds by Student's t over them.

    Args:
        rounds: two or more, each with two windows or more.
        plan: its delta and alpha.
    """
    before, after = (float(sum(getattr(r, arm).sum() for r in rounds)) for arm in ("baseline", "candidate"))
    ratio = after / before if before else (math.inf if after else 1.0)
    worth = 1 + plan.delta
    if _excess(rounds, worth, 1 - plan.alpha)[0] > 0:
        verdict = Verdict.FASTER
    elif _excess(rounds, 1 / worth, 1 - plan.alpha)[1] < 0:
        verdict = Verdict.SLOWER
    else:
        verdict = Verdict.NO_GAIN if _excess(rounds, worth, 1 - plan.alpha)[1] < 0 else Verdict.UNDECIDED
    return GoodputStatistics(ratio=ratio, verdict=verdict, speedup=_interval(rounds, ratio, 1 - plan.alpha), rounds=len(rounds))


def _excess(rounds: Sequence[Counts], factor: Ratio, confidence: Ratio) -> tuple[float, float]:
    """Return one-sided bounds of the mean of ``candidate - factor * baseline``.

    The spread of the rounds is no smaller than what the windows within them make it.
    """
    differences = [r.candidate - factor * r.baseline for r in rounds]
    means = np.array([d.mean() for d in differences])
    within = float(np.mean([d.var(ddof=1) / len(d) for d in differences]))
    error = math.sqrt(max(float(means.var(ddof=1)), within) / len(means))
    half = float(special.stdtrit(len(means) - 1, confidence)) * error
    return float(means.mean()) - half, float(means.mean()) + half


def _interval(rounds: Sequence[Counts], ratio: Ratio, confidence: Ratio) -> Interval:
    one_sided = (1 + confidence) / 2
    if math.isinf(ratio):
        return _beside_nothing(rounds, confidence)
    middle = min(max(ratio, 1 / FARTHEST), FARTHEST)
    low = _edge(rounds, middle, 1 / FARTHEST, one_sided, 0)
    high = _edge(rounds, middle, FARTHEST, one_sided, 1)
    return Interval(
        low=low if low > 1 / FARTHEST else 0.0,
        estimate=middle,
        high=high if high < FARTHEST else math.inf,
        confidence=confidence,
    )


def _beside_nothing(rounds: Sequence[Counts], confidence: Ratio) -> Interval:
    """Return the interval where the baseline answered nothing: the test refuses every ratio then, however large.

    None seen of a Poisson count bounds its mean by ``-ln(1 - confidence)`` (about three); half an answer stands for none in
    the estimate.
    """
    one_sided = (1 + confidence) / 2
    windows, answered = sum(len(r.candidate) for r in rounds), float(sum(r.candidate.sum() for r in rounds))
    low = max(0.0, _excess(rounds, 0.0, one_sided)[0]) * windows / -math.log(1 - one_sided)
    return Interval(low=low, estimate=max(low, (answered + 0.5) / 0.5), high=math.inf, confidence=confidence)


def _edge(rounds: Sequence[Counts], inside: Ratio, outside: Ratio, confidence: Ratio, side: int) -> Ratio:
    """Return, by bisection of logarithms, the ratio at which the test begins to refuse; ``outside`` where it never does."""

    def refused(factor: Ratio) -> bool:
        bound = _excess(rounds, factor, confidence)[side]
        return bound > 0 if side == 0 else bound < 0

    if not refused(outside):
        return outside
    for _ in range(40):
        middle = math.sqrt(inside * outside)
        inside, outside = (inside, middle) if refused(middle) else (middle, outside)
    return math.sqrt(inside * outside)
