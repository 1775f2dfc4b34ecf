"""Many claims at once: Holm for what is confirmed, e-BH for the table of what was screened."""

from __future__ import annotations

import math
from collections.abc import Mapping

from strop.errors import UsageError


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values: a claim holds at family-wise level ``alpha`` when its value is ``<= alpha``.

    The probability that any true null is among the claims that hold is at most ``alpha``, whatever their dependence
    (Holm, "A simple sequentially rejective multiple test procedure", 1979).
    """
    _refuse(p_values, 0.0, 1.0, "p-value")
    adjusted: dict[str, float] = {}
    worst = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}


def e_bh(e_values: Mapping[str, float], q: float = 0.1) -> frozenset[str]:
    """Return the names rejected at false discovery rate ``q``, whatever the dependence.

    The ``k`` largest are rejected for the largest ``k`` whose k-th e-value is at least ``m / (k q)`` (Wang and Ramdas,
    "False discovery rate control with e-values"). Each value must be the one *at the stop*: the largest value an
    e-process had on its way is not an e-value.
    """
    _refuse(e_values, 0.0, math.inf, "e-value")
    ranked = sorted(e_values, key=lambda key: -e_values[key])
    passing = [k for k, name in enumerate(ranked, 1) if e_values[name] * k * q >= len(ranked)]
    return frozenset(ranked[: passing[-1]] if passing else ())


def open_ended_alpha(alpha: float, number: int) -> float:
    """Return the level of claim ``number`` (from 1) of an endless list, ``6 alpha / (pi^2 number^2)``; the sum is ``alpha``."""
    if number < 1:
        raise UsageError(f"claims are numbered from 1; got {number}")
    return alpha * 6 / (math.pi**2 * number**2)


def _refuse(values: Mapping[str, float], low: float, high: float, what: str) -> None:
    for name, value in values.items():
        if not low <= value <= high:
            raise UsageError(f"{what} of {name!r} must lie between {low:g} and {high:g}; got {value!r}")
