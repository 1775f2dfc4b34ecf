"""The guard for whole-set metrics (F1, BLEU, mAP, perplexity …): a paired bootstrap over examples or sources.

Both arms are resampled together. Bounds are bias-corrected and accelerated (Efron, "Better bootstrap confidence
intervals", 1987), the acceleration from a jackknife over at most 200 groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from strop.errors import MeasureError, WrongAnswersError
from strop.measure.quality import ANYTHING, QualityResult, build_result
from strop.measure.ratios import FloatArray
from strop.measure.result import Finding

Indices = NDArray[np.int64]
PairedMetric = Callable[[Indices], tuple[float, float]]
"""``metric(indices) -> (baseline, candidate)``: the metric of both arms on these examples, repeats included."""

JACKKNIFE_GROUPS = 200
SMALL_SAMPLE = 50
LEAST_SAMPLE = 20
"""As few decide nothing, as for the t-test of scores."""

REDRAWS = 20
"""How often resamples on which a metric is undefined are drawn again, before that is given up."""


def judge_corpus(
    values: PairedMetric,
    n: int,
    *,
    margin: float,
    metric: str,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    clusters: Sequence[object] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> QualityResult:
    """Judge a metric that has one value for a whole evaluation set.

    Args:
        values: the metric of both arms on the examples with these indices; NaN where it is undefined, as an area under a curve
            is where one class is missing. Resamples on which it is undefined for the original are drawn again.
        n: examples.
        margin: largest loss allowed, positive, in the metric's own unit.
        metric: name shown in reports.
        higher_is_better: direction.
        alpha: one-sided error probability.
        clusters: the source of each example, where several share one; sources are then resampled whole.
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        MeasureError: the metric is no finite number for all examples together, or undefined on most resamples, or there are
            fewer than two independent units.
        WrongAnswersError: it is undefined on a resample for the candidate alone.
    """
    units = _units(clusters, n, metric)
    sign = 1.0 if higher_is_better else -1.0
    if not (math.isfinite(margin) and margin >= 0):
        raise MeasureError(f"quality {metric!r}: the margin must be 0 or more; got {margin!r}")

    def gain(chosen: Sequence[Indices]) -> float:
        first, second = values(np.concatenate(chosen))
        if math.isfinite(first) and not math.isfinite(second):  # to draw again would leave out where it is worst
            raise WrongAnswersError(f"quality {metric!r} gave {second!r} on examples where the original has {first!r}")
        return sign * (second - first)

    baseline, candidate = map(float, values(np.concatenate(units)))
    if not (math.isfinite(baseline) and math.isfinite(candidate)):
        raise MeasureError(
            f"quality {metric!r} gave baseline {baseline!r} and candidate {candidate!r}; finite numbers are needed"
        )
    build = partial(
        build_result,
        metric,
        baseline,
        candidate,
        margin=margin,
        alpha=alpha,
        higher_is_better=higher_is_better,
        n=n,
        clusters=len(units),
    )
    if len(units) < LEAST_SAMPLE:
        few = _few("evaluation-too-small", f"{len(units)} independent examples are too few for a bootstrap", LEAST_SAMPLE)
        return build((-ANYTHING, ANYTHING), test="none", findings=few)
    samples = _samples(units, gain, resamples, seed, metric)
    bounds = _bca(samples, sign * (candidate - baseline), _jackknife(units, gain), alpha)
    rough = _few("small-evaluation", f"{len(units)} independent examples make a rough bootstrap", SMALL_SAMPLE)
    return build(
        bounds,
        test=f"paired bootstrap, BCa, {resamples} resamples",
        needed_n=_needed(samples, n, margin, alpha),
        findings=rough if len(units) < SMALL_SAMPLE else (),
    )


def _few(code: str, message: str, wanted: int) -> tuple[Finding, ...]:
    return (Finding(code=code, message=message, advice=f"give {wanted} or more"),)


def _samples(
    units: Sequence[Indices], gain: Callable[[Sequence[Indices]], float], resamples: int, seed: int, metric: str
) -> FloatArray:
    """Return the sorted gains of as many resamples on which the metric is defined."""
    generator = np.random.default_rng(seed)
    defined: list[float] = []
    for _ in range(REDRAWS):
        draws = generator.integers(0, len(units), size=(resamples - len(defined), len(units)))
        drawn = [gain([units[place] for place in row]) for row in draws]
        defined += [value for value in drawn if math.isfinite(value)]
        if len(defined) == resamples:
            return np.sort(defined)
        if 2 * len(defined) < resamples:
            break
    raise MeasureError(
        f"quality {metric!r} is undefined, or fails, on {resamples - len(defined)} of {resamples} resamples of {len(units)} "
        f"independent examples; give more of them, of every class"
    )


def _units(clusters: Sequence[object] | None, n: int, metric: str) -> list[Indices]:
    if clusters is not None and len(clusters) != n:
        raise MeasureError(f"quality {metric!r}: {len(clusters)} sources were named for {n} examples")
    names = list(range(n)) if clusters is None else list(clusters)
    members: dict[object, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(name, []).append(place)
    if len(members) < 2:
        raise MeasureError(f"quality {metric!r}: a bootstrap needs two independent examples or more; got {len(members)}")
    return [np.array(places, dtype=np.int64) for places in members.values()]


def _jackknife(units: Sequence[Indices], gain: Callable[[Sequence[Indices]], float]) -> FloatArray:
    groups = np.array_split(np.arange(len(units)), min(len(units), JACKKNIFE_GROUPS))
    values = []
    for group in groups:
        left_out = set(group.tolist())
        values.append(gain([unit for place, unit in enumerate(units) if place not in left_out]))
    return np.array([value for value in values if math.isfinite(value)], dtype=np.float64)


def _bca(samples: FloatArray, estimate: float, left_out: FloatArray, alpha: float) -> tuple[float, float]:
    """Return the bias-corrected, accelerated one-sided bounds."""
    below = float(np.mean(samples < estimate) + np.mean(samples == estimate) / 2)
    bias = float(special.ndtri(min(max(below, 1 / len(samples)), 1 - 1 / len(samples))))
    away = left_out.mean() - left_out if len(left_out) else left_out
    spread = float((away**2).sum())
    acceleration = float((away**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    ends = []
    for tail in (alpha, 1 - alpha):
        shifted = bias + float(special.ndtri(tail))
        level = float(special.ndtr(bias + shifted / (1 - acceleration * shifted)))
        ends.append(float(np.quantile(samples, min(max(level, 0.0), 1.0))))
    return ends[0], ends[1]


def _needed(samples: FloatArray, n: int, margin: float, alpha: float) -> int | None:
    if margin <= 0:
        return None
    factor = float(special.ndtri(1 - alpha) + special.ndtri(0.8))
    return math.ceil(n * (factor * float(samples.std()) / margin) ** 2)
