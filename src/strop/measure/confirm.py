"""Confirmation: fresh processes, a plan written down beforehand, Student's t over the rounds.

Two processes running the same code differ a little, and stay different as long as they live. More pairs in the same
processes cannot average that out, so the unit of confirmation is the round: one fresh pair of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from strop.errors import MeasureError
from strop.measure.plan import ConfirmPlan
from strop.measure.ratios import FloatArray, huber
from strop.measure.result import Comparison, Interval, Verdict

SMALLEST_ROUND, LARGEST_ROUND = 8, 64
FAR, FAR_ROUND = 0.25, 4
"""An effect this far (in log-ratio) beyond the edge of the claim is confirmed by rounds of four pairs. Smaller rounds cost
power, which such an effect does not need, and not validity (tests/testing/test_replay.py holds them to the same bar)."""

DRIFT, DRIFT_FREEDOM = 0.05, 30
"""What minutes and hours do to a machine, and rounds that follow each other do not show: standard deviation between sittings
of the time that a recipe saves, as a part of it, and the degrees of freedom of that figure. From ``benchmarks/sittings.py``
on two processors (docs/reruns.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStatistics:
    """What the rounds say about ``theta = ln(candidate time / baseline time)``.

    Attributes:
        theta: mean of the round values.
        s: standard deviation of the round values, floored by the error within rounds.
        within: that floor, the root mean square of the rounds' own standard errors.
        lower: one-sided lower bound.
        upper: one-sided upper bound; FASTER is ``upper < -ln(1 + delta)``.
        p: one-sided p-value of "not faster by delta".
        speedup: two-sided interval of ``exp(-theta)``.
        rounds: rounds used.
    """

    theta: float
    s: float
    within: float
    lower: float
    upper: float
    p: float
    speedup: Interval
    rounds: int


def confirm_size(sigma: float, theta: float, delta: float, calibrated: float = 0.0) -> int:
    """Return the number of pairs per round, ``clip(ceil((4 sigma / margin)^2), 8, 64)``.

    The margin is ``delta``, or, for a screened effect far beyond it, the distance ``|theta| - ln(1 + delta)`` from the
    edge of the claim: a large gain is told from ``1 + delta`` by few pairs.

    Args:
        sigma: spread of the pairs' log-ratios, from screening.
        theta: screened estimate of the log-ratio.
        delta: smallest worthwhile gain.
        calibrated: spread of the baseline against itself. The larger of the two counts, because a screening that
            stopped early stopped on pairs that happened to agree.
    """
    sigma = max(sigma, calibrated)
    margin = max(delta, abs(theta) - math.log1p(delta))
    if margin <= 0:
        return LARGEST_ROUND
    smallest = FAR_ROUND if margin > FAR else SMALLEST_ROUND
    return int(min(max(math.ceil(min((4 * sigma / margin) ** 2, LARGEST_ROUND)), smallest), LARGEST_ROUND))


def round_statistics(rounds: Sequence[FloatArray], plan: ConfirmPlan) -> RoundStatistics:
    """Return bounds and interval from the log-ratios of each round.

    Raises:
        MeasureError: fewer than two rounds, or a round without at least two pairs.
    """
    if len(rounds) < 2 or min(len(y) for y in rounds) < 2:
        sizes = [len(y) for y in rounds]
        raise MeasureError(f"a claim needs two rounds of two usable pairs or more; the rounds hold {sizes} pairs")
    values = np.array([huber(y) for y in rounds], dtype=np.float64)
    return from_round_values(values[:, 0], values[:, 1], plan)


def from_round_values(means: FloatArray, errors: FloatArray, plan: ConfirmPlan) -> RoundStatistics:
    """Return bounds and interval from each round's Huber mean and its standard error."""
    count, alpha = len(means), plan.alpha
    theta, within = float(means.mean()), float(math.sqrt(np.mean(errors**2)))
    s = max(float(means.std(ddof=1)), within, 1e-9)
    edge = -math.log1p(plan.delta)
    if plan.exact:
        lower, upper, _ = _exact_bounds(means, alpha)
        low, high, confidence = _exact_bounds(means, alpha / 2)
        p = _exact_p(means - edge)
    else:
        lower, upper = _t_bounds(theta, s, count, alpha)
        low, high = _t_bounds(theta, s, count, alpha / 2)
        confidence = 1 - alpha
        p = float(special.stdtr(count - 1, (theta - edge) / (s / math.sqrt(count))))
    speedup = Interval(low=math.exp(-high), estimate=math.exp(-theta), high=math.exp(-low), confidence=confidence)
    return RoundStatistics(theta=theta, s=s, within=within, lower=lower, upper=upper, p=p, speedup=speedup, rounds=count)


def proven_by(statistics: RoundStatistics, plan: ConfirmPlan) -> Verdict:
    """Return what the one-sided bounds prove."""
    edge = math.log1p(plan.delta)
    if statistics.upper < -edge:
        return Verdict.FASTER
    if statistics.lower > edge:
        return Verdict.SLOWER
    return Verdict.NO_GAIN if statistics.lower > -edge else Verdict.UNDECIDED


def rerun_interval(comparison: Comparison, new_rounds: int, confidence: float = 0.95) -> Interval:
    """Return where the speed-up of a repetition with ``new_rounds`` rounds is expected to fall.

    ``theta +- t * sqrt(s^2 (1/R + 1/R') + 2 d^2)``: the repetition has its own error and its own time, so the old confidence
    interval is too narrow. Degrees of freedom of the sum by Welch (1947); ``d`` is :func:`drift`.

    Raises:
        MeasureError: the comparison is not a confirmed one.
    """
    if comparison.phase != "confirm" or "s" not in comparison.evidence:
        raise MeasureError("only a confirmed comparison predicts its repetition; screening numbers are a filter")
    theta, s, rounds = comparison.evidence["theta"], comparison.evidence["s"], comparison.rounds
    between_rounds, between_sittings = s**2 * (1 / rounds + 1 / new_rounds), 2 * drift(theta) ** 2
    variance = between_rounds + between_sittings
    freedom = variance**2 / (between_rounds**2 / (rounds - 1) + between_sittings**2 / DRIFT_FREEDOM)
    half = float(special.stdtrit(freedom, 1 - (1 - confidence) / 2)) * math.sqrt(variance)
    return Interval(low=math.exp(-theta - half), estimate=math.exp(-theta), high=math.exp(-theta + half), confidence=confidence)


def drift(theta: float) -> float:
    """Return the standard deviation of ``theta`` between sittings.

    The slower program spends the share ``1 - exp(-|theta|)`` of its time on what the faster one saves. If that part moves by
    ``DRIFT`` and the rest does not, ``theta`` moves by their product (first order): not at all for the original against itself.
    """
    return DRIFT * -math.expm1(-abs(theta))


def _t_bounds(theta: float, s: float, count: int, alpha: float) -> tuple[float, float]:
    half = float(special.stdtrit(count - 1, 1 - alpha)) * s / math.sqrt(count)
    return theta - half, theta + half


def _subset_means(values: FloatArray) -> FloatArray:
    """Return the sorted means of all non-empty subsets (Hartigan's typical values)."""
    member = (np.arange(1, 2 ** len(values))[:, None] >> np.arange(len(values))) & 1
    return np.sort(member @ values / member.sum(axis=1))


def _exact_bounds(values: FloatArray, alpha: float) -> tuple[float, float, float]:
    """Return sign-flip bounds and the two-sided confidence that they reach: each end errs with ``k / 2^R <= alpha``.

    With few rounds no bound may reach ``1 - alpha``; the outermost value is given then, with its own confidence.
    """
    means = _subset_means(values)
    k = max(1, math.floor(alpha * 2 ** len(values) + 1e-9))
    return float(means[k - 1]), float(means[-k]), 1 - 2 * k / 2 ** len(values)


def _exact_p(shifted: FloatArray) -> float:
    """Return the share of sign patterns whose mean is as low as the observed one."""
    signs = 1 - 2 * ((np.arange(2 ** len(shifted))[:, None] >> np.arange(len(shifted))) & 1)
    return float(np.mean(signs @ shifted <= shifted.sum() + 1e-12))
