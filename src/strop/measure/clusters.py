"""Examples that share a source: crops of one picture, sentences of one text. The sources are the independent units."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from strop.errors import MeasureError
from strop.measure.ratios import FloatArray

LIKENESS_FLOOR = 0.1
"""Likeness assumed between examples of one source where too few differ to estimate it."""


def source_numbers(clusters: Sequence[object] | None, n: int, metric: str) -> NDArray[np.int64] | None:
    """Return the source of each example as a number from 0, or ``None`` when every example is its own source.

    Raises:
        MeasureError: not one source per example, or a single source for all.
    """
    if clusters is None:
        return None
    if len(clusters) != n:
        raise MeasureError(f"quality {metric!r}: {len(clusters)} sources were named for {n} examples")
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    if len(names) < 2:
        raise MeasureError(f"quality {metric!r}: all {n} examples come from one source; two or more are needed")
    return None if len(names) == n else np.array([names[name] for name in clusters], dtype=np.int64)


def cluster_bounds(difference: FloatArray, groups: NDArray[np.int64], alpha: float) -> tuple[float, float]:
    """Return one-sided t-bounds of the mean difference, sources being the units."""
    mean = float(difference.mean())
    half = float(special.stdtrit(int(groups.max()), 1 - alpha)) * cluster_error(difference, groups)
    return mean - half, mean + half


def cluster_error(difference: FloatArray, groups: NDArray[np.int64]) -> float:
    """Return the standard error of the mean difference, sources being the units (linearised ratio of sums to sizes)."""
    sizes = np.bincount(groups).astype(np.float64)
    count = len(sizes)
    residual = np.bincount(groups, weights=difference) - float(difference.mean()) * sizes
    return math.sqrt(count / (count - 1) * float(residual @ residual)) / len(difference)


def design_effect(difference: FloatArray, groups: NDArray[np.int64]) -> float:
    """Return by how much related examples shrink the sample: ``1 + (size - 1) * likeness`` (Kish, "Survey sampling").

    The likeness is the intraclass correlation by analysis of variance, but never below :data:`LIKENESS_FLOOR`: where
    nothing differs, nothing can be estimated.
    """
    sizes = np.bincount(groups).astype(np.float64)
    count, n = len(sizes), len(difference)
    size = float((sizes @ sizes) / n)
    likeness = LIKENESS_FLOOR
    if count > 1 and n > count and float(difference.var()) > 0:
        means = np.bincount(groups, weights=difference) / sizes
        between = float(sizes @ (means - difference.mean()) ** 2) / (count - 1)
        within = float(((difference - means[groups]) ** 2).sum()) / (n - count)
        typical = (n - float(sizes @ sizes) / n) / (count - 1)
        likeness = max(likeness, (between - within) / (between + (typical - 1) * within))
    return 1 + (size - 1) * min(likeness, 1.0)
