"""A judged comparison as the ledger keeps it: plan, raw samples by digest, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strop.ledger.ledger import Ledger, read_pairs
from strop.measure.judge import judge_confirm, judge_screen
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Comparison, Pair


def judge(plan: ScreenPlan | ConfirmPlan, pairs: Sequence[Pair], points: Sequence[str]) -> dict[str, Comparison]:
    """Judge pairs by a plan: point → comparison, and ``"all"`` over the points."""
    return judge_screen(pairs, plan, points) if isinstance(plan, ScreenPlan) else judge_confirm(pairs, plan, points)


def record_judgement(
    ledger: Ledger, name: str, plan: ScreenPlan | ConfirmPlan, pairs: Sequence[Pair], points: Sequence[str]
) -> dict[str, Any]:
    """Write the pairs, judge them, and return the JSON-able judgement for a step."""
    comparisons = judge(plan, pairs, points)
    return {
        "kind": "screen" if isinstance(plan, ScreenPlan) else "confirm",
        "plan": plan.to_json(),
        "points": list(points),
        "samples": ledger.write_pairs(name, pairs),
        "comparisons": {point: comparison.to_json() for point, comparison in comparisons.items()},
    }


def read_comparisons(judgement: Mapping[str, Any]) -> dict[str, Comparison]:
    """Return point → comparison as recorded."""
    return {point: Comparison.from_json(row) for point, row in judgement["comparisons"].items()}


def rejudge(folder: Path, judgement: Mapping[str, Any]) -> dict[str, Comparison]:
    """Judge the recorded pairs again, from the raw samples alone."""
    kind = ScreenPlan if judgement["kind"] == "screen" else ConfirmPlan
    pairs = read_pairs(folder / judgement["samples"]["file"])
    return judge(kind.from_json(judgement["plan"]), pairs, judgement["points"])
