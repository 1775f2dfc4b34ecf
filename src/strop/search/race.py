"""The race of the smallest legal groups against the original."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping

from strop.contract.recipe import Recipe
from strop.contract.settings import encode
from strop.observe import Level
from strop.search.bench import Seat
from strop.search.proposals import groups, variants
from strop.search.session import Session
from strop.search.trials import Trial, run_trial
from strop.trial.workshop import Prepared

SIDE_BY_SIDE = 2
"""Recipes prepared at a time: their imports and exports are serial code, so two share the cores well."""

HANDED_BACK = (0.1, 0.25, 0.5)
"""Shares of the quantised operators, most sensitive first, that are returned to floating point until the guard holds."""

TYPICAL_TRIAL = 12.0
"""Seconds; guess for the first trial, replaced by the mean of the trials so far."""


@dataclasses.dataclass(slots=True)
class Standing:
    """Where a race stands.

    Attributes:
        trials: finished, in order.
        untried: what the budget did not allow.
        leader: the fastest sound recipe, with its trial and living arm.
    """

    trials: list[Trial] = dataclasses.field(default_factory=list)
    untried: list[Recipe] = dataclasses.field(default_factory=list)
    leader: tuple[Trial, Prepared, Seat | None] | None = None


def race(session: Session, gains: Mapping[int, float]) -> Standing:
    """Try every group that the budget allows, most promising first; repair quantised ones that lose quality.

    Args:
        session: the run.
        gains: instruction number → gain that the diagnosis predicts; the card's prior stands in where it is silent.
    """
    facts, host, start = session.materials.facts, session.host, session.workload.traits
    queue = deque(groups(variants(facts, host, start, session.request.only), start, gains))
    session.tell("race.started", f"{len(queue)} recipes to try", recipes=[str(r) for r in queue])
    standing = Standing()
    while queue:
        batch = [queue.popleft() for _ in range(min(SIDE_BY_SIDE, len(queue)))]
        if not session.budget.allows(expected_seconds(standing), session.reserved):
            standing.untried += [*batch, *queue]
            break
        for prepared in session.prepare(batch):
            trial, seat = run_trial(session, prepared, session.original(), delta=session.request.delta)
            standing.trials.append(trial)
            _crown(session, standing, trial, prepared, seat)
            queue.extendleft(reversed(_repairs(session, standing, trial, prepared)))
    for recipe in standing.untried:
        session.tell("trial.untried", f"{recipe}: not measured, the budget did not allow it", level=Level.DETAIL)
    return standing


def _crown(session: Session, standing: Standing, trial: Trial, prepared: Prepared, seat: Seat | None) -> None:
    if trial.status != "faster":
        return
    if standing.leader is not None and standing.leader[0].speedup >= trial.speedup:
        if seat is not None:
            session.bench.dismiss(seat)
        return
    if standing.leader is not None and standing.leader[2] is not None:
        session.bench.dismiss(standing.leader[2])
    standing.leader = (trial, prepared, seat)
    if seat is not None:
        session.expect_claim(seat, trial.comparisons["all"])
    session.tell("best.changed", f"{prepared.recipe} ×{trial.speedup:.2f}")


def _repairs(session: Session, standing: Standing, trial: Trial, prepared: Prepared) -> list[Recipe]:
    """Hand the most sensitive operators back to floating point, if the recipe was fast enough to be worth it."""
    if trial.status not in ("worse quality", "unproven quality"):
        return []
    if standing.leader is not None and standing.leader[0].speedup >= trial.speedup:
        return []
    sensitivity = prepared.preparation.sensitivity
    for instruction in prepared.recipe:
        if not sensitivity or not hasattr(instruction, "keep_float"):
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


def expected_seconds(standing: Standing) -> float:
    """Return how long the next trial will probably take, from those so far."""
    spent = [trial.row["seconds"] for trial in standing.trials if trial.row["seconds"]]
    return max(TYPICAL_TRIAL, 1.5 * sum(spent) / len(spent)) if spent else TYPICAL_TRIAL
