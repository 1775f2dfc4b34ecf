"""How long a training takes to get as far as another one ends: looks taken on its way, and what they say over several seeds.

More samples per second are worth nothing if each teaches less. A *look* therefore notes how far a training has come and
how much time it has spent, the look itself left out; the time to a target is that of the first look that reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from strop.measure.result import Interval
from strop.units import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where a training stands.

    Attributes:
        step: optimizer steps taken.
        seconds: spent on them.
        loss: mean over the samples since the look before.
        metric: on data that is not trained on; ``None``: there is none to look at.
    """

    step: int
    seconds: Seconds
    loss: float
    metric: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Look:
        """Rebuild a look from :meth:`to_json`."""
        return cls(**row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """When both arms of one seed reached the target.

    Attributes:
        target: what is to be reached.
        baseline: the first look of the baseline that reaches it; it always does, for the target is where it ends.
        candidate: that of the candidate; ``None``: it never does.
    """

    target: float
    baseline: Look
    candidate: Look | None


def reached(baseline: Sequence[Look], candidate: Sequence[Look], *, margin: float, higher_is_better: bool) -> Reached:
    """Return when both reach what the baseline ends with, less ``margin``; of the loss where there is no metric.

    Args:
        baseline: its looks, in order; the last one at its end.
        candidate: its looks, from the same seed.
        margin: what counts as equally good, in the metric's own unit; a loss is to be reached in full.
        higher_is_better: direction of the metric.
    """
    by_metric = all(look.metric is not None for look in (*baseline, *candidate))
    sign = 1.0 if by_metric and higher_is_better else -1.0

    def goodness(look: Look) -> float:
        return sign * (look.metric if by_metric and look.metric is not None else look.loss)

    least = goodness(baseline[-1]) - (margin if by_metric else 0.0)
    first, other = (next((look for look in looks if goodness(look) >= least), None) for looks in (baseline, candidate))
    assert first is not None
    return Reached(target=sign * least, baseline=first, candidate=other)


def times_sooner(seeds: Sequence[Reached], confidence: float = 0.95) -> Interval | None:
    """Return how many times sooner the candidate is there: the geometric mean, with Student's interval over the seeds.

    ``None`` where it does not get there from every seed, or where fewer than two seeds were taken: a mean over those seeds
    from which it does would flatter it.
    """
    ratios = [math.log(s.baseline.seconds / s.candidate.seconds) for s in seeds if s.candidate is not None]
    if len(ratios) < max(2, len(seeds)):
        return None
    half = float(special.stdtrit(len(ratios) - 1, (1 + confidence) / 2)) * float(np.std(ratios, ddof=1)) / math.sqrt(len(ratios))
    middle = float(np.mean(ratios))
    low, high = math.exp(middle - half), math.exp(middle + half)
    return Interval(low=low, estimate=math.exp(middle), high=high, confidence=confidence)
