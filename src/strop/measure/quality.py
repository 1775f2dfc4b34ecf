"""The quality guard: is the candidate no worse than the original by more than a margin? Paired, one-sided, able to say no.

``HELD`` needs proof. A difference that could not be decided is ``UNPROVEN``, never "fine". Everything is computed on
goodness (higher is better) and turned back into the metric's own unit and direction at the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from strop.errors import MeasureError
from strop.measure.clusters import cluster_bounds, cluster_error, design_effect, source_numbers
from strop.measure.proportions import needed_examples, rare_bounds, tango_bounds, upper_share
from strop.measure.ratios import FloatArray
from strop.measure.result import Finding, Interval

RARE = 10
"""Fewer differing examples than this are judged by exact bounds."""
SMALL_SAMPLE = 20
ANYTHING = 1e9
"""Difference that stands for "no bound". Finite, so that every record stays plain JSON."""


class Guard(StrEnum):
    """What the guard says."""

    HELD = "held"
    """The loss is proven to be within the margin."""
    BROKEN = "worse quality"
    """The loss is proven to exceed the margin."""
    UNPROVEN = "unproven quality"
    """The evaluation set is too small to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityResult:
    """What the guard found.

    Attributes:
        guard: the answer.
        metric: name of the quality measure.
        baseline: its value for the original model.
        candidate: its value for the candidate.
        margin: largest loss allowed, positive, in the metric's own unit.
        difference: candidate less baseline in the metric's own unit; each end is a one-sided bound at ``1 - alpha``.
        higher_is_better: direction of the metric.
        n: examples.
        clusters: independent sources among them (``n`` where examples are unrelated).
        only_baseline: examples right by the baseline only, or ``None`` where outcomes are not right/wrong.
        only_candidate: examples right by the candidate only, or ``None``.
        test: name of the test used.
        error: standard error of the difference, or ``None`` where the bounds did not come from one.
        needed_n: examples that would decide at 80 % power if the arms were equally good. Where so many could not decide, the
            arms do not look equally good: then those that would if the difference stayed as it is. ``None`` where unknown.
        findings: doubts.
    """

    guard: Guard
    metric: str
    baseline: float
    candidate: float
    margin: float
    difference: Interval
    higher_is_better: bool
    n: int
    clusters: int
    only_baseline: int | None = None
    only_candidate: int | None = None
    test: str = ""
    error: float | None = None
    needed_n: int | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def loss(self) -> float:
        """How much worse the candidate is, in the metric's own unit; negative when it is better."""
        return -self.difference.estimate if self.higher_is_better else self.difference.estimate

    @property
    def deviation(self) -> float:
        """Standard deviation of one example's difference.

        From the discordant examples where outcomes are right/wrong and unrelated, with one added to each kind so that
        none seen does not promise none to come; else from the error, or read off the one-sided bound of the loss.
        """
        if self.error is not None:
            return self.error * math.sqrt(self.n)
        if self.only_baseline is not None and self.only_candidate is not None and self.clusters == self.n:
            ours, theirs = (self.only_baseline + 1) / (self.n + 2), (self.only_candidate + 1) / (self.n + 2)
            return math.sqrt(ours + theirs - (ours - theirs) ** 2)
        bound = -self.difference.low if self.higher_is_better else self.difference.high
        tail = float(special.ndtri((1 + self.difference.confidence) / 2))
        return (bound - self.loss) / tail * math.sqrt(self.n)

    @property
    def discordance(self) -> float | None:
        """Share of examples that exactly one arm gets right; ``None`` where outcomes are not right/wrong."""
        if self.only_baseline is None or self.only_candidate is None:
            return None
        return (self.only_baseline + self.only_candidate) / self.n

    def describe(self) -> str:
        """Return one line: values, loss allowed, how many examples differ, and how many would decide."""
        words = f"{self.metric} {self.baseline:.4g} → {self.candidate:.4g} (may lose {self.margin:.2g}; {self.n} examples"
        if self.discordance is not None:
            words += f", {100 * self.discordance:.1f} % discordant"
        return words + (f"; {self.needed_n} would decide)" if self.guard is Guard.UNPROVEN and self.needed_n else ")")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return {**asdict(self), "guard": self.guard.value, "difference": self.difference.to_json()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> QualityResult:
        """Rebuild a result from :meth:`to_json`."""
        changed = {
            "guard": Guard(row["guard"]),
            "difference": Interval.from_json(row["difference"]),
            "findings": tuple(Finding(**finding) for finding in row["findings"]),
        }
        return cls(**{**row, **changed})


def judge_scores(
    baseline: FloatArray,
    candidate: FloatArray,
    *,
    margin: float,
    metric: str,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    clusters: Sequence[object] | None = None,
    smallest: int = SMALL_SAMPLE,
    proportions: bool = True,
    pilot: int | None = None,
) -> QualityResult:
    """Judge per-example scores of both arms on the same examples.

    Scores that are all 0 or 1 are judged as proportions (Tango's score test; exact bounds when fewer than ten examples
    differ), others by a one-sided paired t-test. With ``clusters`` the sources are the independent units. With ``pilot`` the
    t-test is Stein's, which is exact although the number of scores was chosen by the spread of the first ones (see
    :func:`two_stage_size`).

    Args:
        baseline: scores of the original model, shape ``(n,)``.
        candidate: scores of the candidate on the same examples.
        margin: largest loss allowed, positive, in the metric's own unit.
        metric: name shown in reports.
        higher_is_better: direction.
        alpha: one-sided error probability.
        clusters: the source of each example, where several share one (crops of one picture, sentences of one text).
        smallest: fewest independent units that scores other than 0/1 are judged by; 5 for whole training runs.
        proportions: whether scores that are all 0 or 1 are right and wrong answers; not so where each sums up a whole run.
        pilot: how many of the first scores the number of scores was chosen by, where it was; not with ``clusters``.

    Raises:
        MeasureError: lengths differ, nothing to judge, a score is not a finite number, or the margin is negative.
    """
    left, right = (np.asarray(scores, dtype=np.float64).ravel() for scores in (baseline, candidate))
    _check(left, right, margin, metric)
    sign = 1.0 if higher_is_better else -1.0
    groups = source_numbers(clusters, len(left), metric)
    binary = proportions and bool(np.isin(left, (0, 1)).all() and np.isin(right, (0, 1)).all())
    difference = sign * (right - left)
    judged = _judge_binary(difference, groups, alpha) if binary else _judge_numbers(difference, groups, alpha, smallest, pilot)
    low, high, test, findings = judged
    lost, won = int((difference < 0).sum()), int((difference > 0).sum())
    share = (lost + won) / len(left)
    if binary:
        related = 1.0 if groups is None else design_effect(difference, groups)
        needed = math.ceil(related * needed_examples(share, margin, alpha)) if margin > 0 else None
        error = None
    else:
        units = np.arange(len(left), dtype=np.int64) if groups is None else groups
        error = cluster_error(difference, units) if len(left) > 1 else None
        needed = None if error is None or test == "none" else _needed_scores(error * math.sqrt(len(left)), margin, alpha)
    return build_result(
        metric,
        float(left.mean()),
        float(right.mean()),
        (low, high),
        margin=margin,
        alpha=alpha,
        higher_is_better=higher_is_better,
        n=len(left),
        clusters=len(left) if groups is None else int(groups.max()) + 1,
        only_baseline=lost if binary else None,
        only_candidate=won if binary else None,
        test=test,
        error=error,
        needed_n=needed,
        findings=findings,
    )


def two_stage_size(difference: FloatArray, *, margin: float, alpha: float) -> int:
    """Return how many scores would show with 80 % power that nothing is lost, judging by the spread of the first ones alone.

    Stein, "A two-sample test for a linear hypothesis whose power is independent of the variance", Annals of Mathematical
    Statistics 1945: the spread says nothing about the mean, so that a number chosen by the spread leaves the t-test of the
    mean of all exact, as long as that test keeps the spread, and the degrees of freedom, of the first ones.

    Args:
        difference: candidate less baseline of the first scores, two or more.
        margin: largest loss allowed, above 0, in the metric's own unit.
        alpha: one-sided error probability.
    """
    freedom = len(difference) - 1
    factor = float(special.stdtrit(freedom, 1 - alpha) + special.stdtrit(freedom, 0.8))
    return max(len(difference), math.ceil((factor * float(difference.std(ddof=1)) / margin) ** 2))


def judge_agreement(differing: int, n: int, *, margin: float, metric: str, alpha: float = 0.05) -> QualityResult:
    """Judge by disagreement with the original alone, without labels.

    Right answers lost cannot exceed answers changed, so a Clopper-Pearson upper bound of the share of changed answers
    within the margin proves the guard: 0 changed of 299 gives 1 %, of 598 gives 0.5 %.

    Raises:
        MeasureError: counts that make no sense, or a negative margin.
    """
    if not 0 <= differing <= n or n == 0:
        raise MeasureError(f"quality {metric!r}: {differing} differing answers of {n} make no sense")
    same = np.ones(n)
    changed = np.where(np.arange(n) < differing, 0.0, 1.0)
    return judge_scores(same, changed, margin=margin, metric=metric, alpha=alpha)


def label_free(differing: int, n: int, margin: float, alpha: float = 0.05) -> bool:
    """Return whether the share of changed answers alone proves that no more than ``margin`` accuracy is lost."""
    return n > 0 and upper_share(differing, n, alpha) <= margin


def build_result(
    metric: str,
    baseline: float,
    candidate: float,
    bounds: tuple[float, float],
    *,
    margin: float,
    alpha: float,
    higher_is_better: bool,
    n: int,
    clusters: int,
    test: str,
    only_baseline: int | None = None,
    only_candidate: int | None = None,
    error: float | None = None,
    needed_n: int | None = None,
    findings: tuple[Finding, ...] = (),
) -> QualityResult:
    """Turn one-sided bounds of the goodness difference into a result in the metric's own unit."""
    low, high = bounds
    sign = 1.0 if higher_is_better else -1.0
    guard = Guard.HELD if low > -margin or (low == -margin and margin > 0) else Guard.UNPROVEN
    if high < -margin:
        guard = Guard.BROKEN
    if guard is Guard.UNPROVEN and needed_n is not None and needed_n <= n:
        needed_n = _needed_as_it_looks(low, sign * (candidate - baseline), n, margin)
    if guard is Guard.UNPROVEN and needed_n is not None:
        message = f"{n} examples cannot decide a margin of {margin:g}; about {needed_n} are needed"
        findings = (
            *findings,
            Finding(code="evaluation-too-small", message=message, advice=f"give {needed_n} evaluation examples"),
        )
    ends = (low, high) if higher_is_better else (-high, -low)
    difference = Interval(low=ends[0], estimate=candidate - baseline, high=ends[1], confidence=1 - 2 * alpha)
    return QualityResult(
        guard=guard,
        metric=metric,
        baseline=baseline,
        candidate=candidate,
        margin=margin,
        difference=difference,
        higher_is_better=higher_is_better,
        n=n,
        clusters=clusters,
        only_baseline=only_baseline,
        only_candidate=only_candidate,
        test=test,
        error=error,
        needed_n=needed_n,
        findings=findings,
    )


def _needed_as_it_looks(low: float, estimate: float, n: int, margin: float) -> int | None:
    """Return the examples whose lower bound would lie within the margin if the estimate stayed; ``None``: no number would."""
    room = margin + estimate
    return max(n + 1, math.ceil(n * ((estimate - low) / room) ** 2)) if room > 0 else None


Bounds = tuple[float, float, str, tuple[Finding, ...]]


def _judge_binary(difference: FloatArray, groups: NDArray[np.int64] | None, alpha: float) -> Bounds:
    n, b, c = len(difference), int((difference < 0).sum()), int((difference > 0).sum())
    if groups is None:
        if b + c < RARE:
            return (*rare_bounds(b, c, n, alpha), "Clopper-Pearson bound of the answers lost", ())
        return (*tango_bounds(b, c, n, alpha), "Tango score test", ())
    differing = len(np.unique(groups[difference != 0]))
    if differing >= RARE:
        return (*cluster_bounds(difference, groups, alpha), "t-test over sources", ())
    effective = n / design_effect(difference, groups)
    message = f"{n} examples of {int(groups.max()) + 1} sources count as {effective:.0f} independent ones"
    finding = Finding(code="related-examples", message=message, advice="more sources decide sooner than more examples of each")
    bounds = rare_bounds(b * effective / n, c * effective / n, effective, alpha)
    return (*bounds, "Clopper-Pearson bound at the effective sample size", (finding,))


def _two_stage_bounds(difference: FloatArray, pilot: int, alpha: float) -> tuple[float, float]:
    error = float(difference[:pilot].std(ddof=1)) / math.sqrt(len(difference))
    half = float(special.stdtrit(pilot - 1, 1 - alpha)) * error
    return float(difference.mean()) - half, float(difference.mean()) + half


def _judge_numbers(
    difference: FloatArray, groups: NDArray[np.int64] | None, alpha: float, smallest: int, pilot: int | None
) -> Bounds:
    units = len(difference) if groups is None else int(groups.max()) + 1
    if units < smallest:
        message = f"{units} independent examples are too few for a t-test of scores"
        finding = Finding(code="evaluation-too-small", message=message, advice=f"give {smallest} or more")
        return -ANYTHING, ANYTHING, "none", (finding,)
    if pilot is not None and pilot < len(difference):
        return (*_two_stage_bounds(difference, pilot, alpha), "Stein's two-stage t-test", ())
    if groups is None:
        groups = np.arange(len(difference), dtype=np.int64)
        return (*cluster_bounds(difference, groups, alpha), "paired t-test", ())
    return (*cluster_bounds(difference, groups, alpha), "t-test over sources", ())


def _needed_scores(deviation: float, margin: float, alpha: float) -> int | None:
    if margin <= 0:
        return None
    factor = float(special.ndtri(1 - alpha) + special.ndtri(0.8))
    return math.ceil((factor * deviation / margin) ** 2)


def _check(left: FloatArray, right: FloatArray, margin: float, metric: str) -> None:
    if left.shape != right.shape or not left.size:
        raise MeasureError(f"quality {metric!r}: {left.size} baseline and {right.size} candidate scores cannot be paired")
    for arm, values in (("baseline", left), ("candidate", right)):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise MeasureError(f"quality {metric!r}: {bad} of {values.size} {arm} scores are not finite numbers")
    if not (math.isfinite(margin) and margin >= 0):
        raise MeasureError(f"quality {metric!r}: the margin must be 0 or more; got {margin!r}")
