"""How a run of ``strop optimize`` ended, as the ledger keeps it; every kind of workload ends by the same words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from strop.api.result import KEPT, NOTHING_PAID
from strop.catalogue import write_recipe
from strop.contract.recipe import Recipe
from strop.measure.result import Finding
from strop.search.optimize import describe


def ending(kept: Recipe | None, reason: str, findings: Iterable[Finding]) -> dict[str, Any]:
    """Return what was kept, or why nothing was.

    Args:
        kept: the recipe, if one was.
        reason: why none was.
        findings: doubts about the run.
    """
    return {
        "result": kept.key if kept is not None else None,
        "exit_code": KEPT if kept is not None else NOTHING_PAID,
        "reason": "" if kept is not None else reason,
        "kept": describe(kept) if kept is not None else [],
        "recipe": write_recipe(kept) if kept is not None else "",
        "findings": [{"code": f.code, "message": f.message, "advice": f.advice} for f in findings],
    }
