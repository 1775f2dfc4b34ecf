"""More about the confirmed result, if time is left: what each part contributes, and whether a simpler recipe does as well.

The claims are registered together before the first of them is measured, and judged together by Holm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.multiplicity import holm
from strop.measure.plan import ConfirmPlan
from strop.search.climb import Standing
from strop.search.confirm import Confirmation
from strop.search.proposals import removals
from strop.search.prune import PRUNE_SECONDS
from strop.search.run import ROUNDS
from strop.search.session import Session
from strop.trial.workshop import Prepared
from strop.units import Seconds

PAIRS = 12
"""Pairs in each round: both arms are fast, and their difference may be small."""

ONE_SHOT = "best single choice"
WITHOUT = "without "


Claims = Sequence[tuple[Prepared, Confirmation]]
"""Claims that were tested, in order; those before the last one fell."""


def claim_parts(session: Session, standing: Standing, claims: Claims) -> None:
    """Compare the result with the best single choice and with itself less each part, as far as time allows.

    Args:
        session: the run.
        standing: its trials.
        claims: the last one holds; its recipe is the result.
    """
    result, confirmation = claims[-1]
    assert confirmation.row is not None  # what holds was timed
    plan = ConfirmPlan(delta=0.0, alpha=session.request.alpha, rounds=ROUNDS, pairs=PAIRS, metric=session.request.metric)
    each = _claim_seconds(session, confirmation.row)

    def register() -> dict[str, Any]:
        room = max(0, int(session.budget.left // each))
        chosen = list(_rivals(session, standing, claims).items())[:room]
        return {"plan": plan.to_json(), "rivals": {name: recipe.to_json() for name, recipe in chosen}}

    registered = session.ledger.step("registered/parts", register)["rivals"]
    p_values = dict.fromkeys(registered, 1.0)
    for name, told in registered.items():
        if not session.ledger.done(f"part/{name}") and session.budget.left < each:
            break
        measure = partial(_measure, session, result, name, catalogue.recipe_from_json(told), plan)
        row = session.ledger.step(f"part/{name}", measure)
        if row["confirm"] is not None:
            p_values[name] = read_comparisons(row["confirm"])["all"].evidence["p"]
    session.ledger.step("parts", lambda: {"adjusted": holm(p_values)})


def _rivals(session: Session, standing: Standing, claims: Claims) -> dict[str, Recipe]:
    """Name → recipe that the result is compared with; first the best single choice that is not known to fail the guard."""
    rivals: dict[str, Recipe] = {}
    original, result = Recipe().key, claims[-1][0].recipe
    out = {result.key} | {prepared.recipe.key for prepared, confirmation in claims if confirmation.unsound}
    single = [s for s in standing.stacks if s.trial.row["against"] == original and s.recipe.key not in out]
    if single:
        rivals[ONE_SHOT] = max(single, key=lambda stack: stack.gain).recipe
    for instruction, rest in removals(result, session.workload.traits):
        if rest.key not in {recipe.key for recipe in rivals.values()}:
            rivals[WITHOUT + instruction.name] = rest
    return rivals


def _measure(session: Session, result: Prepared, name: str, recipe: Recipe, plan: ConfirmPlan) -> dict[str, Any]:
    (rival,) = session.prepare([recipe])
    row: dict[str, Any] = {"recipe": recipe.to_json(), "text": str(recipe), "reason": rival.preparation.reason, "confirm": None}
    if not rival.ready:
        return row
    session.tell("part.started", f"confirming what the result gains over {name} ({recipe})")
    try:
        pairs = session.bench.confirm(f"part/{name}", rival, result, plan, fits=lambda seconds: session.budget.left > seconds)
    except MeasureError as error:  # the rival may never have run before; the result stands without it
        return {**row, "reason": str(error)}
    if len(pairs) < plan.rounds * plan.pairs:
        return {**row, "reason": "the time ran out"}
    slug = f"part-{name.replace(' ', '-')}"
    return {**row, "confirm": record_judgement(session.ledger, slug, plan, pairs, session.materials.points)}


def _claim_seconds(session: Session, confirmed: Mapping[str, Any]) -> Seconds:
    """Return what one more claim takes: fresh starts of two fast arms, their pairs, and preparing the rival."""
    starting: Seconds = max(start["candidate"]["seconds"] for start in confirmed["starts"])
    calls = read_comparisons(confirmed["confirm"])
    pair = session.pair_seconds / min(c.speedup.estimate for c in calls.values())
    return ROUNDS * (3 * starting + PAIRS * 2 * pair) + PRUNE_SECONDS
