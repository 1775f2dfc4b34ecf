"""Paired right/wrong outcomes: Tango's score test, exact bounds for rare differences, and the sizes they need.

Notation: ``n`` examples, ``b`` of them right by the baseline only, ``c`` by the candidate only. The quantity is
``d = (c - b) / n``, the candidate's share of right answers less the baseline's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special

from strop.errors import MeasureError


def tango_z(b: int, c: int, n: int, d0: float) -> float:
    """Return the score statistic of ``H0: d <= d0``; large values speak for ``d > d0``. Defined at ``b = c = 0``.

    Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17 (1998).
    """
    first = -(b + c) + (2 * n - c + b) * d0
    last = -b * d0 * (1 - d0)
    q = (math.sqrt(max(first**2 - 8 * n * last, 0.0)) - first) / (4 * n)
    variance = n * (2 * q + d0 * (1 - d0))
    distance = c - b - n * d0
    if variance <= 1e-12:
        return math.copysign(math.inf, distance) if abs(distance) > 1e-12 else 0.0
    return distance / math.sqrt(variance)


def tango_bounds(b: int, c: int, n: int, alpha: float) -> tuple[float, float]:
    """Return the one-sided ``1 - alpha`` lower and upper bounds of ``d`` that the score test gives."""
    z, estimate = float(special.ndtri(1 - alpha)), (c - b) / n
    low = _bisect(-1.0, estimate, lambda d0: tango_z(b, c, n, d0) > z)
    high = _bisect(1.0, estimate, lambda d0: tango_z(b, c, n, d0) < -z)
    return low, high


def upper_share(count: float, n: float, alpha: float) -> float:
    """Return the one-sided ``1 - alpha`` Clopper-Pearson upper bound of a share. Non-integer counts are allowed."""
    return 1.0 if count >= n else float(special.betaincinv(count + 1, n - count, 1 - alpha))


def lower_share(count: float, n: float, alpha: float) -> float:
    """Return the one-sided ``1 - alpha`` Clopper-Pearson lower bound of a share."""
    return 0.0 if count <= 0 else float(special.betaincinv(count, n - count + 1, alpha))


def rare_bounds(b: float, c: float, n: float, alpha: float) -> tuple[float, float]:
    """Return exact one-sided bounds of ``d`` for few differences: it cannot lie below ``-P(only baseline right)``."""
    return -upper_share(b, n, alpha), upper_share(c, n, alpha)


def needed_examples(discordance: float, margin: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many examples the guard needs when the arms differ on a share ``discordance`` and are equally good.

    ``(z_{1-alpha} + z_power)^2 * discordance / margin^2``, and never fewer than the label-free guard needs to pass
    without a single difference, ``ln(alpha) / ln(1 - margin)``.

    Raises:
        MeasureError: the margin is not positive: no number of examples proves equality.
    """
    if margin <= 0:
        raise MeasureError(f"a quality margin must be more than 0 to be decided by examples; got {margin:g}")
    smallest = math.log(alpha) / math.log1p(-min(margin, 0.999999))
    factor = float(special.ndtri(1 - alpha) + special.ndtri(power))
    return math.ceil(max(smallest, factor**2 * discordance / margin**2) - 1e-9)


def _bisect(outside: float, inside: float, rejected: Callable[[float], bool]) -> float:
    """Return the edge between a rejected value and the estimate, which is never rejected."""
    if not rejected(outside):
        return outside
    while abs(outside - inside) > 1e-9:
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if rejected(middle) else (outside, middle)
    return outside
