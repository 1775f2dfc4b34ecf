"""Which training settings pay: race them against the plain training, confirm the best, and judge whole trainings by it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from strop.contract.instruction import Instruction
from strop.contract.moment import Moment
from strop.contract.recipe import Recipe
from strop.errors import DeclinedError, MeasureError, MissingExtraError, NoEffectError, TargetError
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.collect import block_plan
from strop.measure.plan import ScreenPlan
from strop.measure.result import Comparison, Finding, Verdict
from strop.observe import Level
from strop.pipeline import Outcome, Preparation
from strop.search.bench import Seat
from strop.search.choose import MOST_CLAIMS
from strop.search.climb import NO_TIME, STEP_DELTA, WORTH_TRYING, Stack, Standing
from strop.search.kinds import lossy_part
from strop.search.placebo import PLACEBO_KEPT, doubt
from strop.search.proposals import Proposal, additions, groups, removals, variants
from strop.search.run import LEAST_ROUNDS
from strop.search.training_claim import TrainingClaim, claim
from strop.search.trials import Trial
from strop.search.tuning import SEEDS, Price, Tuning
from strop.trial.steps import POINT
from strop.trial.training import Planned
from strop.units import Seconds, show_seconds

REFUSALS = {
    DeclinedError.__name__: Outcome.DECLINED,
    MissingExtraError.__name__: Outcome.LACKS_DEPENDENCY,
    NoEffectError.__name__: Outcome.NO_EFFECT,
}
"""What an arm raises at loading → what became of its recipe. Any other error is a failure to run."""

REFUSED = frozenset({Outcome.DECLINED.value, Outcome.LACKS_DEPENDENCY.value})

FIRST_SHARE = 0.6
"""The first claim's part of alpha; the later ones share the rest, so that any false claim has a chance below alpha."""

SCREEN_PAIRS = 10
"""Guess of how many pairs a screening takes."""

SPARE = 1.2
"""A budget that is advised holds this many times what was estimated."""


@dataclass(slots=True)
class Tuned:
    """What a search among training settings found.

    Attributes:
        result: the confirmed recipe; ``None`` when no claim held.
        claims: tested, in order.
        standing: every trial, and what was not tried.
        contributions: name of each instruction of the result that was timed as an addition to the rest of it, with the row
            of that trial.
        findings: doubts about the run.
    """

    result: Recipe | None = None
    claims: list[TrainingClaim] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    contributions: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def tune(tuning: Tuning) -> Tuned:
    """Calibrate, race, confirm, judge.

    Raises:
        MeasureError: the plain training itself cannot be run.
    """
    found = Tuned()
    tuning.measure_size()
    tuning.expect()
    if short := tuning.ledger.step("budget", lambda: _too_short(tuning)):  # once: later sittings have less time and less to do
        found.findings.append(Finding(**short))
        tuning.tell("warning", f"{short['message']}; {short['advice']}", level=Level.WARNING)
        return found
    unsettled = doubt(tuning, tuning.calibrate())
    found.findings += [unsettled] if unsettled is not None else []
    tuning.tell(
        "baseline.measured",
        f"noise of a pair: {100 * tuning.spread:.1f} %; confirming is reserved {show_seconds(tuning.reserved)}",
    )
    if unsettled is None or unsettled.code != PLACEBO_KEPT:
        _race_and_claim(tuning, found)
    return found


def _race_and_claim(tuning: Tuning, found: Tuned) -> None:
    """Race and claim; where the quality of a claim falls, go on without what changes the training so."""
    race, alpha = _Race(tuning, found.standing), FIRST_SHARE * tuning.request.alpha
    while len(found.claims) < MOST_CLAIMS and (stack := race.run()) is not None:
        if found.claims and not _claimable(tuning, stack):
            return
        tested = claim(tuning, stack, alpha)
        found.claims.append(tested)
        if tested.holds:
            found.result = stack.recipe
            found.contributions = _contributions(tuning, stack.recipe, found.standing)
        changing = frozenset(i.number for i in lossy_part(stack.recipe))
        if tested.holds or not tested.refused or not changing:
            return
        race.refuse(changing)
        tuning.expect()
        alpha = (1 - FIRST_SHARE) / (MOST_CLAIMS - 1) * tuning.request.alpha


def _claimable(tuning: Tuning, stack: Stack) -> bool:
    """Whether the time left holds another claim; one that is begun and not ended would hide what was judged before it."""
    price, known = Price.from_json(stack.trial.row["price"]), tuning.ledger.done(f"registered/{stack.recipe.key}")
    needed = tuning.rounds_seconds(LEAST_ROUNDS, price, stack.screened) + tuning.quality_seconds(price)
    if known or tuning.budget.allows(needed, 0.0):
        return True
    left = show_seconds(max(0.0, tuning.budget.left))
    short = f"{stack.recipe} is not claimed: that takes about {show_seconds(needed)}, and {left} are left"
    tuning.tell("confirm.skipped", short, level=Level.WARNING)
    return False


def _contributions(tuning: Tuning, kept: Recipe, standing: Standing) -> list[tuple[str, dict[str, Any]]]:
    """Time what was kept against itself without each of its instructions, unless the race did, as far as time is left."""
    found, raced = [], {(trial.row["key"], trial.row["against"]): dict(trial.row) for trial in standing.trials}
    tuning.reserved = 0.0  # for what has been confirmed by now
    for instruction, rest in removals(kept, tuning.workload.traits):
        key, row = f"contribution/{rest.key}/{kept.key}", raced.get((kept.key, rest.key))
        if row is None and (tuning.ledger.done(key) or tuning.budget.allows(2 * _trial_seconds(tuning), tuning.reserved)):
            row = tuning.ledger.step(key, partial(_against_rest, tuning, kept, rest, key))
        if row is not None:
            found.append((instruction.name, row))
    return found


def _against_rest(tuning: Tuning, kept: Recipe, rest: Recipe, key: str) -> dict[str, Any]:
    """Time one recipe against another that lacks an instruction; where that cannot be run, nothing is known."""
    alive: list[Seat] = []
    try:
        alive.append(tuning.bench.seat(Planned(rest), "baseline"))
        return _trial(tuning, Proposal(kept, against=rest.key), alive[0], key, alive)
    except (TargetError, MeasureError) as error:
        return {"key": kept.key, "against": rest.key, "status": "failed to run", "reason": str(error), "screen": None}
    finally:
        for seat in alive:
            tuning.bench.dismiss(seat)


def _too_short(tuning: Tuning) -> dict[str, str] | None:
    """Return what to tell where the budget does not hold a confirmation and a single trial, else ``None``."""
    trial = _trial_seconds(tuning)
    if tuning.budget.allows(trial, tuning.reserved):
        return None
    needed = SPARE * (tuning.ledger.elapsed + 2 * trial + tuning.reserved)
    courses = "" if tuning.workload.metric.unjudged else f", {SEEDS} whole trainings of each arm included"
    left = show_seconds(max(0.0, tuning.budget.left))
    return {
        "code": "budget-too-small",
        "message": f"confirming a claim takes about {show_seconds(tuning.reserved)} here{courses}, and {left} are left",
        "advice": f"give a budget of {math.ceil(needed / 60)}m or more",
    }


def _trial_seconds(tuning: Tuning) -> Seconds:
    """Guess what trying one recipe takes: starting it, and the pairs of a screening."""
    plain = tuning.plain_price()
    pair = block_plan({POINT: plain.profile}, {POINT: plain.profile}).pair_seconds
    return plain.starting + SCREEN_PAIRS * pair


class _Race:
    def __init__(self, tuning: Tuning, standing: Standing) -> None:
        self._tuning, self._standing = tuning, standing
        start, only = tuning.workload.traits, tuning.request.only
        every = variants(tuning.facts, tuning.host, start, only)
        self._pool: list[Instruction] = [i for i in every if _acts(i) and (only or tuning.request.aim in i.card.aims)]
        self._waiting = {p.recipe.key: p for p in groups(self._pool, start, {})}
        self._tried: set[str] = set()
        self._refused: list[frozenset[int]] = []
        names = [str(p.recipe) for p in self._waiting.values()]
        tuning.tell("race.started", f"{len(names)} groups to try", recipes=names)

    def run(self) -> Stack | None:
        """Try recipes in the order of expected improvement until the reserve is reached; return the best that is allowed."""
        tuning, standing = self._tuning, self._standing
        while (ranked := self._ranked()) and (self._recorded(ranked[0]) or tuning.budget.allows(self._cost(), tuning.reserved)):
            self._attempt(ranked[0])
        standing.untried = {str(p.recipe): NO_TIME for p in self._ranked()}
        for recipe, reason in standing.untried.items():
            tuning.tell("trial.untried", f"{recipe}: not measured, {reason}", level=Level.DETAIL)
        for stack in standing.stacks:
            self._leave(stack)
        return self._leader

    def refuse(self, changing: frozenset[int]) -> None:
        """Neither try nor claim any more what holds all of these instructions."""
        self._refused.append(changing)

    @property
    def _leader(self) -> Stack | None:
        return max(filter(lambda s: self._allowed(s.recipe), self._standing.stacks), key=lambda s: s.gain, default=None)

    def _allowed(self, recipe: Recipe) -> bool:
        return not any(changing <= {i.number for i in recipe} for changing in self._refused)

    def _ranked(self) -> list[Proposal]:
        """Return what is left to try, what is on disk already first, then the greatest expected improvement."""
        tuning, leader = self._tuning, self._leader
        best, proposals = leader.gain if leader else 0.0, list(self._waiting.values())
        for stack in self._standing.stacks:
            proposals += additions(stack.recipe, stack.gain, self._pool, tuning.facts, tuning.host, tuning.workload.traits)
        fresh = {p.recipe.key: p for p in proposals if p.recipe.key not in self._tried and self._allowed(p.recipe)}
        worth = {key: math.inf if self._recorded(p) else p.improvement(best) for key, p in fresh.items()}
        return [fresh[key] for key in sorted(fresh, key=lambda key: -worth[key]) if worth[key] >= WORTH_TRYING]

    def _attempt(self, proposal: Proposal) -> None:
        tuning = self._tuning
        stack = next((s for s in self._standing.stacks if s.recipe.key == proposal.against), None)
        self._tried.add(proposal.recipe.key)
        self._waiting.pop(proposal.recipe.key, None)
        alive: list[Seat] = []
        key = _key(proposal)
        trial = Trial(tuning.ledger.step(key, lambda: _trial(tuning, proposal, self._rival(stack), key, alive)))
        tuning.tell_trial(trial.row)
        self._standing.trials.append(trial)
        if trial.status in REFUSED:
            self._drop([i for i in proposal.recipe if stack is None or i not in stack.recipe])
        if trial.status != "faster":
            for seat in alive:
                tuning.bench.dismiss(seat)
            return
        screened, gain = trial.comparisons["all"], math.log(trial.speedup)
        if stack is not None:
            screened, gain = stack.screened, stack.gain + gain
        found = Stack(Planned(proposal.recipe), trial, gain, screened, alive[0] if alive else None)
        self._standing.stacks.append(found)
        for other in self._standing.stacks:  # only the leader's arm is worth its memory
            if other is not self._leader:
                self._leave(other)
        if self._leader is found:
            tuning.tell("best.changed", f"{found.recipe} ×{math.exp(gain):.2f}")
            tuning.expect(Price.from_json(trial.row["price"]), screened)

    def _drop(self, added: list[Instruction]) -> None:
        """Ask no more for what declined: it looks at model and machine, which are the same beside other instructions."""
        if len(added) == 1:
            self._pool = [i for i in self._pool if i not in added]
            self._waiting.pop(Recipe(added).key, None)

    def _rival(self, stack: Stack | None) -> Seat:
        if stack is None:
            return self._tuning.original()
        stack.seat = stack.seat or self._tuning.bench.seat(stack.prepared, "candidate")
        return stack.seat

    def _leave(self, stack: Stack) -> None:
        if stack.seat is not None:
            self._tuning.bench.dismiss(stack.seat)
            stack.seat = None

    def _cost(self) -> Seconds:
        return _trial_seconds(self._tuning)

    def _recorded(self, proposal: Proposal) -> bool:
        return self._tuning.ledger.done(_key(proposal))


def _key(proposal: Proposal) -> str:
    return f"trial/{proposal.against or Recipe().key}/{proposal.recipe.key}"


def _acts(instruction: Instruction) -> bool:
    return any(moment <= Moment.LOOP for moment in instruction.moments())


def _trial(tuning: Tuning, proposal: Proposal, against: Seat, key: str, alive: list[Seat]) -> dict[str, Any]:
    """Start the recipe's training and time its steps against another's; whatever happens is a result."""
    recipe = proposal.recipe
    row: dict[str, Any] = {
        "key": recipe.key,
        "recipe": recipe.to_json(),
        "text": str(recipe),
        "against": against.prepared.recipe.key,
        "seconds": 0.0,
        "preparation": Preparation(outcome=Outcome.PREPARED).to_json(),
        "screen": None,
        "quality": None,
        "reason": "",
    }
    try:
        seat = tuning.bench.seat(Planned(recipe), "candidate")
        alive.append(seat)
        row |= {"preparation": tuning.bench.call(seat, "told", {}, 60.0), "seconds": seat.marks["loaded"]}
        row["price"] = Price.of(seat).to_json()
        delta = STEP_DELTA if proposal.against else tuning.request.delta
        plan = ScreenPlan(delta=delta, metric="throughput", spread=tuning.spread)
        pairs = tuning.bench.screen(key, against, seat, plan, tuning.out_of_time)
    except TargetError as error:
        outcome = REFUSALS.get(error.kind)
        if outcome is None:
            return {**row, "status": "failed to run", "reason": f"{error.kind}: {error.detail}"}
        row["preparation"] = Preparation(outcome=outcome, reason=error.detail).to_json()
        return {**row, "status": outcome.value, "reason": error.detail}
    except MeasureError as error:
        return {**row, "status": "failed to run", "reason": str(error)}
    row["screen"] = record_judgement(tuning.ledger, key.replace("/", "-"), plan, pairs, tuning.bench.points)
    overall: Comparison = read_comparisons(row["screen"])["all"]
    return {**row, "status": "faster" if overall.verdict is Verdict.FASTER else overall.verdict.value}
