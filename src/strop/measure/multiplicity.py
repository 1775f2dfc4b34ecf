"""Many claims at once."""

from __future__ import annotations

from collections.abc import Mapping

from strop.errors import UsageError


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values: a claim holds at family-wise level ``alpha`` when its value is ``<= alpha``.

    The probability that any true null is among the claims that hold is at most ``alpha``, whatever their dependence
    (Holm, "A simple sequentially rejective multiple test procedure", 1979).
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"p-value of {name!r} must lie between 0 and 1; got {value!r}")
    adjusted: dict[str, float] = {}
    worst = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}
