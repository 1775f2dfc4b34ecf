"""How a run of ``strop optimize`` ended, as the ledger keeps it; every kind of workload ends by the same words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from strop.api.result import KEPT, NOTHING_PAID
from strop.catalogue import write_recipe
from strop.contract.recipe import Recipe
from strop.measure.result import Finding
from strop.search.optimize import describe
from strop.search.trials import Trial


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


def nothing_kept(trials: Sequence[Trial]) -> str:
    """Say why nothing was kept, and where a faster recipe only lacked evaluation examples, how many would have decided."""
    unproven = [t.quality.needed_n for t in trials if t.status == "unproven quality" and t.quality and t.quality.needed_n]
    if not unproven:
        return "no recipe was found to be faster and as good"
    were = "1 recipe was" if len(unproven) == 1 else f"{len(unproven)} recipes were"
    return (
        f"{were} faster, but the evaluation data has too few examples to show that the quality holds: about {min(unproven)} in "
        f"the confirming split would decide. Give more, or allow a larger loss by --max-drop"
    )
