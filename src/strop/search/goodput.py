"""Which way of serving pays: propose in virtual time, race on real servers, confirm on fresh ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from strop.contract.recipe import Recipe
from strop.errors import MeasureError, TargetError, UsageError
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.plan import ScreenPlan
from strop.measure.result import Comparison, Finding, Verdict
from strop.observe import Level
from strop.pipeline import Outcome, Preparation, legal, settle
from strop.search.climb import NO_TIME, STEP_DELTA
from strop.search.goodput_claim import GoodputClaim, claim
from strop.search.placebo import PLACEBO_KEPT, doubt
from strop.search.rehearsed import best, recipes, rehearse
from strop.search.staging import Staging
from strop.search.trials import Trial
from strop.trial.serving import Served
from strop.units import show_seconds, show_share

FEWEST_PAIRS = 6
"""Pairs that a screening takes at least."""
VIRTUAL = "in virtual time it was not noticeably better than what is measured"
"""Why a recipe was not measured."""
SPARE = 1.2
"""A budget that is advised holds this many times what was estimated."""


@dataclass(slots=True)
class Found:
    """What a search among ways of serving found.

    Attributes:
        result: the confirmed recipe; ``None`` when no claim held.
        claim: the one tested; ``None`` when nothing was worth it.
        trials: every trial on real servers, and what declined.
        untried: recipe in words → why it was served in virtual time only.
        findings: doubts about the run.
    """

    result: Recipe | None = None
    claim: GoodputClaim | None = None
    trials: list[Trial] = field(default_factory=list)
    untried: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def improve(staging: Staging) -> Found:
    """Rehearse, calibrate, race, confirm.

    Raises:
        UsageError: the bundle cannot be served like this.
        MeasureError: the service as it comes cannot be measured.
    """
    found = Found()
    staging.measure_curve()
    proposed = _propose(staging, found)
    staging.expect()
    if not proposed:
        return found
    if short := staging.ledger.step("budget", lambda: _too_short(staging)):  # once: later sittings have less time and less to do
        found.findings.append(Finding(**short))
        staging.tell("warning", f"{short['message']}; {short['advice']}", level=Level.WARNING)
        return found
    unsettled = doubt(staging, _calibrated(staging))
    found.findings += [unsettled] if unsettled is not None else []
    staging.tell(
        "baseline.measured",
        f"noise of a pair of windows: {100 * staging.spread:.1f} %; confirming is reserved {show_seconds(staging.reserved)}",
    )
    if unsettled is not None and unsettled.code == PLACEBO_KEPT:
        return found
    leader = _race(staging, found, proposed)
    if leader is not None:
        found.claim = claim(staging, leader, read_comparisons(leader.row["screen"])["all"], staging.request.alpha)
        found.result = leader_recipe(leader, proposed) if found.claim.holds else None
    return found


def leader_recipe(trial: Trial, proposed: Sequence[Recipe]) -> Recipe:
    """Return the recipe of a trial."""
    return next(recipe for recipe in proposed if recipe.key == trial.key)


def _propose(staging: Staging, found: Found) -> list[Recipe]:
    """Serve every setting in virtual time; return the default, and whatever is noticeably better than it."""
    workload = staging.workload
    every = recipes(staging.draft().facts, staging.host, workload.traits, staging.request.only)
    ready: list[Recipe] = []
    for recipe in every:
        draft = staging.draft()
        told = settle(draft, recipe, staging.host)
        if legal(recipe, workload.traits) is None and told.outcome is Outcome.PREPARED:
            ready.append(recipe)
        elif not found.trials:  # one row says why; other settings decline for the same reason
            row = _row(recipe, Recipe().key, told)
            found.trials.append(Trial(staging.ledger.step(f"trial/{recipe.key}", lambda row=row: row)))  # type: ignore[misc]
            staging.tell_trial(found.trials[-1].row)
    if not ready:
        return []
    goodputs = staging.ledger.step("rehearsal", lambda: _rehearsed(staging, ready))
    off, shares = goodputs["off"], [goodputs["recipes"][recipe.key] for recipe in ready]
    staging.tell(
        "race.started",
        f"in virtual time {show_share(off)} are answered in time as it comes, {show_share(shares[0])} by {ready[0]}, "
        f"{show_share(max(shares))} by the best of {len(ready)} settings",
        recipes=[str(recipe) for recipe in ready],
    )
    place = best(shares)
    chosen = [ready[0], *([ready[place]] if place is not None else [])]
    found.untried = {str(recipe): VIRTUAL for recipe in ready if recipe not in chosen}
    return chosen


def _rehearsed(staging: Staging, ready: Sequence[Recipe]) -> dict[str, Any]:
    def share(recipe: Recipe) -> float:
        draft = staging.draft()
        settle(draft, recipe, staging.host)
        return rehearse(draft.service, staging.traffic, staging.seeds, staging.request.seed)

    return {"off": share(Recipe()), "recipes": {recipe.key: share(recipe) for recipe in ready}}


def _calibrated(staging: Staging) -> Comparison:
    """Compare the service with itself; its servers' own accounts must agree with the generator's.

    Raises:
        UsageError: the service as it comes does not start, or does not take the requests.
    """
    try:
        return staging.calibrate()
    except TargetError as error:
        raise UsageError(error.detail) from error


def _too_short(staging: Staging) -> dict[str, str] | None:
    """Return what to tell where the budget does not hold calibration, a trial and a confirmation, else ``None``."""
    trial = staging.starting + FEWEST_PAIRS * staging.window_pair
    if staging.budget.allows(2 * trial, staging.reserved):
        return None
    needed = SPARE * (staging.ledger.elapsed + 2 * trial + staging.reserved)
    left = show_seconds(max(0.0, staging.budget.left))
    return {
        "code": "budget-too-small",
        "message": f"one comparison and its confirmation take about {show_seconds(2 * trial + staging.reserved)} here, "
        f"and {left} are left",
        "advice": f"give a budget of {math.ceil(needed / 60)}m or more, or shorter windows",
    }


def _race(staging: Staging, found: Found, proposed: Sequence[Recipe]) -> Trial | None:
    """Try the default against the service as it comes, and another setting against the default; return what won."""
    leader: Trial | None = None
    for recipe in proposed:
        key = f"trial/{leader.key if leader else Recipe().key}/{recipe.key}"
        cost = staging.starting + FEWEST_PAIRS * staging.window_pair
        if not staging.ledger.done(key) and not staging.budget.allows(cost, staging.reserved):
            found.untried[str(recipe)] = NO_TIME
            continue
        against = leader_recipe(leader, proposed) if leader else Recipe()
        trial = Trial(staging.ledger.step(key, lambda r=recipe, a=against, k=key: _trial(staging, r, a, k)))  # type: ignore[misc]
        staging.tell_trial(trial.row)
        found.trials.append(trial)
        if trial.status == "faster":
            leader = trial
            staging.tell("best.changed", f"{recipe} ×{trial.speedup:.2f}")
            staging.expect(trial.comparisons["all"])
    return leader


def _trial(staging: Staging, recipe: Recipe, against: Recipe, key: str) -> dict[str, Any]:
    """Serve by a recipe and compare window by window; whatever happens is a result."""
    told = settle(staging.draft(), recipe, staging.host)
    row = _row(recipe, against.key, told)
    delta = STEP_DELTA if len(against) else staging.request.delta
    plan = ScreenPlan(delta=delta, metric="goodput", spread=staging.spread)
    stand = staging.stand
    try:
        with stand.seated(Served(recipe), "candidate") as seat:
            row["seconds"] = seat.marks["loaded"]
            if len(against):
                with stand.seated(Served(against), "baseline") as rival:
                    pairs = stand.screen(key, rival, seat, plan, staging.out_of_time)
            else:
                pairs = stand.screen(key, staging.original(), seat, plan, staging.out_of_time)
            row["account"], difference = stand.account(seat).to_json(), stand.check(seat)
    except TargetError as error:
        return {**row, "status": "failed to run", "reason": f"{error.kind}: {error.detail}"}
    except MeasureError as error:
        return {**row, "status": "failed to run", "reason": str(error)}
    row["screen"] = record_judgement(staging.ledger, key.replace("/", "-"), plan, pairs, stand.points)
    if difference:
        return {**row, "status": "invalid", "reason": f"the server's own count differs from what was sent to it: {difference}"}
    overall: Comparison = read_comparisons(row["screen"])["all"]
    return {**row, "status": "faster" if overall.verdict is Verdict.FASTER else overall.verdict.value}


def _row(recipe: Recipe, against: str, told: Preparation) -> dict[str, Any]:
    return {
        "key": recipe.key,
        "recipe": recipe.to_json(),
        "text": str(recipe),
        "against": against,
        "seconds": 0.0,
        "preparation": told.to_json(),
        "screen": None,
        "quality": None,
        "status": told.outcome.value,
        "reason": told.reason,
    }
