"""A quantised recipe that lost quality gets its most sensitive operators back in floating point."""

from __future__ import annotations

import dataclasses

from strop.contract.recipe import Recipe
from strop.contract.settings import encode
from strop.search.trials import Trial
from strop.trial.workshop import Prepared

HANDED_BACK = (0.1, 0.25, 0.5)
"""Shares of the quantised operators, most sensitive first, that are returned to floating point until the guard holds."""


def repairs(trial: Trial, prepared: Prepared) -> list[Recipe]:
    """Return the recipe with more operators in floating point, if that is what it may need; else nothing."""
    sensitivity = prepared.preparation.sensitivity
    if trial.status not in ("worse quality", "unproven quality") or not sensitivity:
        return []
    for instruction in prepared.recipe:
        if not hasattr(instruction, "keep_float"):
            continue
        kept = len(encode(instruction).get("keep_float", ()))
        total = len(sensitivity) + kept
        more = [n for n in (max(1, round(share * total)) for share in HANDED_BACK) if n > kept]
        if more:
            worst = sorted(sensitivity, key=lambda name: sensitivity[name], reverse=True)
            names = tuple(dict.fromkeys([*instruction.keep_float, *worst]))[: more[0]]
            repaired = dataclasses.replace(instruction, keep_float=names)  # type: ignore[type-var]
            return [prepared.recipe.with_(repaired)]
    return []
