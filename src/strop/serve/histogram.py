"""Counts of values by size, cheap enough to be kept on every request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from strop.units import Ratio

SECONDS = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
)
"""Never more than twice as long as the bound before, so that a percentile between two bounds is not far off."""
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RATIOS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75)


class Histogram:
    """How many values lay at or below each bound.

    Args:
        bounds: rising; one more class takes what lies above the last.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self._counts, self._sum = tuple(bounds), [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    @property
    def total(self) -> float:
        """Sum of all values."""
        return self._sum

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self._counts)

    @property
    def counts(self) -> tuple[int, ...]:
        """Values of each class, the last being those above every bound."""
        return tuple(self._counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """Return ``(bound, values at or below it)`` pairs as Prometheus wants them."""
        rows, below = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            below += count
            rows.append((bound, float(below)))
        return rows


def percentile(bounds: Sequence[float], counts: Sequence[int], share: Ratio) -> float | None:
    """Return the value below which ``share`` of the counted values lie, evenly spread within their class.

    The same estimate as Prometheus' ``histogram_quantile``: a value above every bound counts as the last bound.

    Args:
        bounds: of a histogram.
        counts: values of each class, one more than there are bounds.
        share: 0 to 1.

    Returns:
        The estimate, or ``None`` when nothing was counted.
    """
    rank = share * sum(counts)
    if not sum(counts):
        return None
    below = 0
    for number, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            low = bounds[number - 1] if number else 0.0
            return low + (bounds[number] - low) * (rank - below) / count
        below += count
    return float(bounds[-1])
