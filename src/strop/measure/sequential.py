"""Screening: a clipped symmetry e-process that may be looked at after every pair.

For ``H0: theta >= theta0`` with past-only scales ``s_i``::

    psi_i = clip((y_i - theta0) / s_i, -3, 3)
    E_n   = mean over lambda in {1/4, 1/2, 1, 2} of  prod_{i<=n}  exp(-lambda psi_i) / cosh(lambda psi_i)

The coin makes ``y_i - theta`` symmetric given the past, so each factor has mean 1 at ``theta = theta0`` and at most 1
above it: ``E`` is a test supermartingale and ``P(E ever reaches 1/alpha) <= alpha`` (Ville). Clipping is an odd
function and keeps the symmetry; it keeps one spike from wiping out the evidence of twenty pairs.
(Vovk and Wang, "Nonparametric e-tests of symmetry"; Howard et al., "Time-uniform, nonparametric, nonasymptotic
confidence sequences".)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from strop.measure.plan import ScreenPlan
from strop.measure.ratios import MAD_TO_SIGMA, FloatArray, spread
from strop.measure.result import Verdict

BETS = np.array([0.25, 0.5, 1.0, 2.0])
CLIP = 3.0
SMALLEST_SCALE = 0.002
LEARNING_PAIRS = 8
"""Pairs over which the scale moves from the planned spread to the observed one."""
TREND_CORRELATION = 0.5
TREND_LEVEL = 0.01
ANYTHING = 20.0
"""Log-ratio that stands for "no bound yet": a factor of 5e8. Finite, so that every record stays plain JSON."""
SHORTEST_TREND = 6
"""Pairs below which nothing can be called a trend."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a screening comparison stopped.

    Attributes:
        verdict: FASTER, SLOWER, NO_GAIN, or UNDECIDED for a trend that stayed.
        pairs: pairs seen when it stopped.
        start: pairs at the beginning that were set aside because of a trend (0 = none).
        trend: what the trend looked like, or ``None``.
    """

    verdict: Verdict
    pairs: int
    start: int = 0
    trend: str | None = None


def scales(y: FloatArray, planned: float) -> FloatArray:
    """Return ``s_i`` over the last axis: from the pairs before ``i`` only, shrunk towards ``planned`` for the first eight."""
    count = y.shape[-1]
    past = np.tril(np.ones((count, count), dtype=bool), k=-1)
    middle = _prefix_median(np.where(past, y[..., None, :], np.inf))
    away = np.abs(np.where(past, y[..., None, :], 0.0) - middle[..., None])
    mad = MAD_TO_SIGMA * _prefix_median(np.where(past, away, np.inf))
    seen = np.minimum(np.arange(count), LEARNING_PAIRS)
    mad = np.where(np.arange(count) >= 3, mad, planned)
    return np.maximum(SMALLEST_SCALE, (seen * mad + (LEARNING_PAIRS - seen) * planned) / LEARNING_PAIRS)


def log_evidence(y: FloatArray, scale: FloatArray, theta0: float, *, above: bool = False, clip: float = CLIP) -> FloatArray:
    """Return the path of ``ln E_n`` over the last axis.

    Args:
        y: log-ratios, shape ``(..., n)``.
        scale: from :func:`scales`, same shape.
        theta0: edge of the hypothesis.
        above: ``False``: evidence that ``theta < theta0``; ``True``: that ``theta > theta0``.
        clip: largest standardised value counted.
    """
    psi = np.clip((y - theta0) / scale, -clip, clip)
    bet = (2.0 if above else -2.0) * psi[..., None] * BETS
    # exp(z) / cosh(z) = 2 / (1 + exp(-2 z)), written without overflow
    steps = math.log(2.0) - np.logaddexp(0.0, -bet)
    return np.asarray(np.logaddexp.reduce(np.cumsum(steps, axis=-2), axis=-1) - math.log(len(BETS)))


def evidence(y: FloatArray, plan: ScreenPlan) -> FloatArray:
    """Return the paths of ln E for FASTER, SLOWER and NO_GAIN, shape ``(..., n, 3)``."""
    scale, edge = scales(y, plan.spread), math.log1p(plan.delta)
    return np.stack(
        [
            log_evidence(y, scale, -edge),
            log_evidence(y, scale, edge, above=True),
            log_evidence(y, scale, -edge, above=True),
        ],
        axis=-1,
    )


def proven(logs: FloatArray, pairs: int, plan: ScreenPlan) -> Verdict | None:
    """Return what one row of :func:`evidence` proves, or ``None``.

    A candidate that looks slower than "no gain" is given up to ``2 * min_pairs`` pairs to be called so: "no worthwhile
    gain" would be true, but would hide a regression.
    """
    if logs[0] >= -math.log(plan.alpha):
        return Verdict.FASTER
    if logs[1] >= -math.log(plan.alpha):
        return Verdict.SLOWER
    if logs[2] >= -math.log(plan.alpha_futility) and (logs[1] < 0 or pairs >= min(2 * plan.min_pairs, plan.max_pairs)):
        return Verdict.NO_GAIN
    return None


def decide(
    y: FloatArray,
    plan: ScreenPlan,
    *,
    paths: FloatArray | None = None,
    agree: Callable[[int, Verdict], bool] | None = None,
) -> Decision | None:
    """Return where the comparison stops, or ``None`` while it goes on. Depends on each prefix of ``y`` only.

    When the pairs show a trend at the first stop, the first third is set aside and as many new pairs are asked for,
    once. A trend that stays forbids FASTER. After that, FASTER also needs the evidence of all pairs to have reached
    its bar at some time, so the error bound does not rest on the choice of what was set aside.

    Args:
        y: log-ratios of the pairs so far.
        plan: the plan.
        paths: ``evidence(y, plan)`` where the caller has it already.
        agree: called with (pairs, verdict) before each stop; ``False`` lets the comparison go on.
    """
    whole = evidence(y, plan) if paths is None else paths
    bar = -math.log(plan.alpha)
    start, due, kept, seen_trend = 0, plan.min_pairs, whole, None
    for pairs in range(1, min(len(y), plan.max_pairs) + 1):
        if pairs < due:
            continue
        verdict = proven(kept[pairs - start - 1], pairs, plan)
        if verdict is Verdict.FASTER and start and whole[:pairs, 0].max() < bar:
            verdict = None
        if verdict is None or (agree is not None and not agree(pairs, verdict)):
            continue
        seen = trend(y[start:pairs], plan.delta)
        if seen is None:
            return Decision(verdict, pairs, start, seen_trend)
        seen_trend = seen
        if start:
            return Decision(Verdict.UNDECIDED if verdict is Verdict.FASTER else verdict, pairs, start, seen)
        start = max(1, pairs // 3)
        due = pairs + start
        kept = evidence(y[start:], plan)
    return None


def trend(y: FloatArray, delta: float) -> str | None:
    """Return a sentence when the log-ratios drift in the order they were taken, else ``None``.

    Either Spearman's correlation with the order is beyond 0.5 at p < 0.01 and the medians of the first and the last
    third differ by more than ``delta / 2`` (less cannot matter to a claim), or they differ by more than ``delta`` and
    by more than four times what their own spread explains.
    """
    count = len(y)
    if count < SHORTEST_TREND:
        return None
    third = count // 3
    first, last = y[:third], y[-third:]
    shift = float(np.median(last) - np.median(first))
    correlation = _order_correlation(y)
    odds = abs(correlation) * math.sqrt((count - 2) / max(1 - correlation**2, 1e-12))
    likely = 2 * (1 - float(special.stdtr(count - 2, odds))) >= TREND_LEVEL
    if abs(correlation) > TREND_CORRELATION and not likely and abs(shift) > delta / 2:
        return f"the log-ratios move with time (Spearman correlation {correlation:+.2f} over {count} pairs)"
    noise = max(spread(first), spread(last), SMALLEST_SCALE) * 1.25 * math.sqrt(2 / third)
    if count >= 2 * SHORTEST_TREND and abs(shift) > max(delta, 4 * noise):
        return f"the last third of {count} pairs differs from the first by {100 * shift:+.1f} %"
    return None


def _order_correlation(y: FloatArray) -> float:
    """Return Spearman's correlation of ``y`` with its order; equal values share their mean rank."""
    ranks = (y[:, None] > y).sum(axis=1) + 0.5 * (y[:, None] == y).sum(axis=1)
    order = np.arange(len(y)) - (len(y) - 1) / 2
    ranks = ranks - ranks.mean()
    length = math.sqrt(float(ranks @ ranks) * float(order @ order))
    return float(ranks @ order) / length if length else 0.0


def interval(y: FloatArray, plan: ScreenPlan) -> tuple[float, float]:
    """Return the confidence sequence for ``theta`` at the last pair: every ``theta`` with both one-sided E below ``2/alpha``.

    ``E`` is monotone in ``theta0``, so bisection finds the ends. They are :data:`ANYTHING` while too few pairs exclude nothing.
    """
    scale, bar = scales(y, plan.spread), math.log(2 / plan.alpha)
    return _end(y, scale, bar, above=True), _end(y, scale, bar, above=False)


def _end(y: FloatArray, scale: FloatArray, bar: float, *, above: bool) -> float:
    if not len(y):
        return -ANYTHING if above else ANYTHING

    def excluded(theta0: float) -> bool:
        return bool(log_evidence(y, scale, theta0, above=above)[-1] >= bar)

    reach = 4 * CLIP * float(scale.max()) + 1e-6
    far = float(y.min()) - reach if above else float(y.max()) + reach
    near = float(y.max()) + reach if above else float(y.min()) - reach
    if not excluded(far):
        return -ANYTHING if above else ANYTHING
    while abs(far - near) > 1e-6:
        middle = (far + near) / 2
        far, near = (middle, near) if excluded(middle) else (far, middle)
    return far


def _prefix_median(rows: FloatArray) -> FloatArray:
    """Return the median of the first ``i`` values of row ``i``; unused places hold infinity. Row 0 gives 0."""
    count = rows.shape[-1]
    ordered = np.sort(rows, axis=-1)
    index = np.arange(count)
    low, high = np.maximum(index - 1, 0) // 2, np.minimum(index // 2, count - 1)
    middle = (ordered[..., index, low] + ordered[..., index, high]) / 2
    return np.where(index > 0, middle, 0.0)
