"""The claim about a way of serving: more requests answered in time, on fresh servers, by two counts that agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strop.catalogue import recipe_from_json
from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.ledger.guard import record_scores
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.plan import ConfirmPlan
from strop.measure.result import Comparison, Pair, Verdict
from strop.observe import Level
from strop.search.bench import Seat
from strop.search.run import LEAST_ROUNDS, ROUNDS
from strop.search.staging import Staging
from strop.search.trials import Trial
from strop.trial.serving import Served
from strop.units import show_seconds


@dataclass(frozen=True, slots=True)
class GoodputClaim:
    """A confirmed (or refuted) claim as the ledger holds it.

    Attributes:
        recipe: what it is about.
        timing: the confirmation, with the accounts of both arms.
    """

    recipe: Recipe
    timing: Mapping[str, Any]

    @property
    def comparison(self) -> Comparison | None:
        """The confirmed comparison with the service as it comes; ``None`` where it was not completed."""
        return read_comparisons(self.timing["confirm"])["all"] if self.timing["confirm"] else None

    @property
    def holds(self) -> bool:
        """Whether it is proven."""
        return not self.problem

    @property
    def problem(self) -> str:
        """Why it does not hold, in words; empty when it does."""
        if self.comparison is None:
            return str(self.timing["failed"] or "the time ran out before the claim was measured; give a larger budget")
        if self.timing["failed"]:
            return str(self.timing["failed"])
        verdict = self.comparison.verdict
        return "" if verdict is Verdict.FASTER else f"confirmation says {verdict.value}"


def claim(staging: Staging, trial: Trial, screened: Comparison, alpha: float) -> GoodputClaim:
    """Register the claim that a recipe answers more requests in time than the service as it comes, then test it.

    Args:
        staging: the run.
        trial: what the claim is about.
        screened: its screening.
        alpha: error probability of the claim.
    """
    recipe, key = recipe_from_json(trial.row["recipe"]), trial.key
    registered = staging.ledger.step(f"registered/{key}", lambda: _register(staging, recipe, screened, alpha))
    plan = ConfirmPlan.from_json(registered["plan"])
    staging.tell("confirm.timing", f"confirming {recipe}: {plan.rounds} fresh pairs of servers × {plan.pairs} pairs of windows")
    timing = staging.ledger.step(f"confirm/{key}", lambda: _confirm(staging, recipe, plan))
    tested = GoodputClaim(recipe, timing)
    if timing["confirm"]:
        staging.ledger.step(f"quality/{key}", lambda: timing["shares"])
    staging.tell("confirm.done", f"{recipe}: {tested.problem or 'confirmed'}", level=Level.RESULT, holds=tested.holds)
    return tested


def _register(staging: Staging, recipe: Recipe, screened: Comparison, alpha: float) -> dict[str, Any]:
    pairs = staging.pairs(screened)
    wanted = range(ROUNDS, LEAST_ROUNDS, -1)
    rounds = next((n for n in wanted if staging.rounds_seconds(n, pairs) <= staging.budget.left), LEAST_ROUNDS)
    plan = ConfirmPlan(delta=staging.request.delta, alpha=alpha, rounds=rounds, pairs=pairs, metric="goodput")
    return {"baseline": staging.baseline.recipe.key, "candidate": recipe.key, "plan": plan.to_json()}


def _confirm(staging: Staging, recipe: Recipe, plan: ConfirmPlan) -> dict[str, Any]:
    """Take the registered pairs, and hold the servers' own counts against the generator's."""
    name, stand = f"confirm/{recipe.key}", staging.stand
    starts: list[dict[str, Any]] = []
    accounts: dict[str, Counter[str]] = {"baseline": Counter(), "candidate": Counter()}
    sent: list[list[int]] = []

    def told(number: int, baseline: Seat, candidate: Seat) -> None:
        both = {"baseline": baseline, "candidate": candidate}
        for arm, seat in both.items():
            if difference := stand.check(seat):
                raise MeasureError(f"the {arm}'s own count of requests differs from what was sent to it: {difference}")
            accounts[arm].update(stand.account(seat).to_json())
        peaks = {arm: stand.call(seat, "peak", {}, 30.0) for arm, seat in both.items()}
        starts.append({arm: {"peak": peaks[arm], "marks": dict(s.marks), "seconds": s.seconds} for arm, s in both.items()})
        sent.append(list(stand.account(baseline).windows))
        staging.tell("confirm.round", f"round {number + 1} of {plan.rounds}", round=number + 1)

    nothing = {"baseline": None, "candidate": None}
    result: dict[str, Any] = {"confirm": None, "checks": [], "starts": [], "tensors": nothing, "disk": nothing, "failed": ""}
    try:
        pairs = stand.confirm(
            name, staging.baseline, Served(recipe), plan, told, fits=lambda seconds: staging.budget.left > seconds
        )
    except MeasureError as error:  # a server died, hung or miscounted: no claim
        return {**result, "failed": str(error)}
    if len(pairs) < plan.rounds * plan.pairs:
        return result
    counts = {arm: dict(account) for arm, account in accounts.items()}
    result |= {"starts": starts, "accounts": counts, "failed": _totals(pairs, accounts)}
    result["confirm"] = record_judgement(staging.ledger, name.replace("/", "-"), plan, pairs, stand.points)
    result["shares"] = _shares(staging, recipe, plan, pairs, [count for row in sent for count in row])
    return result


def _totals(pairs: Sequence[Pair], accounts: Mapping[str, Mapping[str, int]]) -> str:
    """Say how the pairs differ from the accounts; empty where every good answer is in both."""
    for arm, account in accounts.items():
        inside = sum(len(block.calls_ns) for pair in pairs for block in pair.blocks if block.arm == arm)
        if inside != account["good"]:
            return f"the pairs hold {inside} answers of the {arm} in time, its account {account['good']}"
    return ""


def _shares(staging: Staging, recipe: Recipe, plan: ConfirmPlan, pairs: Sequence[Pair], sent: Sequence[int]) -> dict[str, Any]:
    """Judge the share of requests answered in time, window by window, the rounds being the independent units."""

    def share(arm: str) -> list[float]:
        good = [len(block.calls_ns) for pair in pairs for block in pair.blocks if block.arm == arm]
        return [count / max(1, whole) for count, whole in zip(good, sent, strict=True)]

    return record_scores(
        staging.ledger, f"{recipe.key}-windows", share("baseline"), share("candidate"),
        sources=[f"round {pair.round + 1}" for pair in pairs],
        metric=f"share of requests answered within {show_seconds(staging.workload.within)}",
        margin=0.0, alpha=plan.alpha, smallest=LEAST_ROUNDS, proportions=False,
    )  # fmt: skip
