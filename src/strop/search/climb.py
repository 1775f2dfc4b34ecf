"""Try what promises most until nothing does: groups against the original, additions against the stack that they add to.

Additions to every stack compete, not only to the best one: a recipe that trails may be the one that a setting helps most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from strop.contract.instruction import Instruction
from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.measure.result import Comparison
from strop.observe import Level
from strop.search.bench import Runnable, Seat
from strop.search.kinds import UNSEEN_CHANCE, bare, bare_gain, chance, kind, lossy_part
from strop.search.order import Offer, first
from strop.search.proposals import (
    GROUP_SPREAD,
    SIBLING_SPREAD,
    STEP_SPREAD,
    Proposal,
    additions,
    barred,
    expected_gain,
    groups,
    variants,
)
from strop.search.repair import repairs
from strop.search.run import ROUNDS, least_rounds
from strop.search.session import Session
from strop.search.trials import Trial, run_trial
from strop.trial.workshop import Prepared
from strop.units import Ratio, Seconds

STEP_DELTA = 0.01
"""Smallest gain over the stack for which one more instruction is worth having."""

SIDE_BY_SIDE = 2
"""Recipes prepared at a time: their imports and exports are serial code, so two share the cores well."""

WORTH_TRYING = 0.01
"""Smallest expected improvement (of the logarithm of the speed-up) for which a trial is made once something was found."""

NO_TIME, NO_PROMISE = "the budget did not allow it", "it promised too little beside what was found"
NO_PROCESSOR = "it runs on the processor, and this workload is on an accelerator"
"""Why a recipe was not measured."""

PREPARE_SECONDS = (8.0, 14.0, 14.0)
"""Guess by cost class (free, calibrate, fit), without the training itself."""

QUICKER: Ratio = 0.3
"""One training that was quicker than thought makes the next be thought so much shorter at most."""
FIT_SHARE: Ratio = 0.5
"""Of the budget, at most this is given to one training."""

SURPRISE_PRIOR = 4
"""Additions that the first expectation of an addition counts for, beside those that were tried."""

TRIAL_SECONDS: Seconds = 8.0
"""Guess for the first trial, replaced by the mean of the trials so far."""


@dataclass(slots=True)
class Stack:
    """A recipe that screening found faster and sound.

    Attributes:
        prepared: what its arm runs.
        trial: against the original, or against the stack that it grew from.
        gain: logarithm of its speed-up over the original, multiplied up along the way it was reached.
        screened: the comparison with the original at the bottom of that way.
        seat: its living arm, while it leads.
    """

    prepared: Runnable
    trial: Trial
    gain: float
    screened: Comparison
    seat: Seat | None = None

    @property
    def recipe(self) -> Recipe:
        """What it consists of."""
        return self.prepared.recipe


@dataclass(slots=True)
class Standing:
    """Where a search stands.

    Attributes:
        trials: finished, in order.
        stacks: what was found faster, in order.
        untried: recipe in words → why it was not measured.
    """

    trials: list[Trial] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)
    untried: dict[str, str] = field(default_factory=dict)

    @property
    def leader(self) -> Stack | None:
        """The fastest sound recipe so far."""
        return max(self.stacks, key=lambda stack: stack.gain, default=None)


def climb(session: Session, gains: Mapping[int, float]) -> Standing:
    """Try recipes in the order of expected improvement per second until the reserve for confirming is reached.

    Args:
        session: the run.
        gains: instruction number → gain that the diagnosis predicts; the card's prior stands in where it is silent.
    """
    climber = _Climber(session, gains)
    while (chosen := climber.next()) is not None:
        climber.attempt(chosen)
    return climber.finish()


class _Climber:
    def __init__(self, session: Session, gains: Mapping[int, float]) -> None:
        self._session, self._standing, self._gains = session, Standing(), gains
        facts, host, start = session.materials.facts, session.host, session.workload.traits
        self._pool: list[Instruction] = variants(facts, host, start, session.request.only)
        self._barred = barred(facts, host, start, session.request.only)
        self._waiting = {p.recipe.key: p for p in groups(self._pool, start, gains)}
        self._steps: list[Proposal] = []
        self._prepared: dict[str, Prepared] = {}
        self._asked: dict[str, bool] = {}
        self._fits: dict[str, Seconds] = {}
        self._pace, self._warned = 1.0, False
        self._tried: set[str] = set()
        self._spent: list[Seconds] = []
        self._surprise, self._additions = 0.0, 0
        self._gave: dict[frozenset[str], float] = {}
        names = [str(p.recipe) for p in self._waiting.values()]
        session.tell("race.started", f"{len(names)} groups to try", recipes=names)

    def next(self) -> Proposal | None:
        """Return the best proposal that time allows, prepared; ``None`` when there is none."""
        session, leader = self._session, self._standing.leader
        offers = map(self._offer, filter(self._promising, self._open()))
        ranked = sorted((o for o in offers if o.cost <= self._left(o.proposal)), key=lambda o: o.rate, reverse=True)
        if not ranked:
            return None
        left = max(0.0, session.budget.left - session.reserve(ROUNDS))
        chosen = first(ranked, left, leader.gain if leader else 0.0).proposal
        session.reserved = session.reserve(self._rounds(chosen))
        if chosen.recipe.key not in self._prepared:
            for prepared in session.prepare(self._together(chosen, [o.proposal for o in ranked])):
                self._prepared[prepared.recipe.key] = prepared
            self._learn_pace(chosen)
            self._asked.clear()  # recipes may share an artefact, or a training
            self._fits.clear()
        return chosen

    def _open(self) -> Iterable[Proposal]:
        """What may still be tried; once claims are planned, only what the plan rests on."""
        planned = self._session.ledger.done("registered/claims")
        return filter(self._recorded, self._proposals()) if planned else self._proposals()

    def _left(self, proposal: Proposal) -> Seconds:
        """Seconds that trying it may take."""
        return max(0.0, self._session.budget.left - self._session.reserve(self._rounds(proposal)))

    def _rounds(self, proposal: Proposal) -> int:
        """Rounds of confirming that it must leave time for.

        All of them; but where the leader is in doubt and nothing stands behind it, the last ones, which only narrow the claim's
        interval, are worth less than something to claim.
        """
        standing = self._standing
        alone = standing.leader is not None and all(kind(standing.leader.recipe) <= kind(s.recipe) for s in standing.stacks)
        return least_rounds(self._session.request) if alone and self._backing(proposal) >= WORTH_TRYING else ROUNDS

    def _together(self, chosen: Proposal, ranked: Sequence[Proposal]) -> list[Recipe]:
        """Return what is prepared at a time: two recipes side by side; one alone that trains, or that is on disk already."""
        if seconds := self._fitting(chosen):
            asked = f"{chosen.recipe}: training asks about {seconds:.0f} s of the budget of {self._session.budget.limit:.0f} s"
            self._session.tell("fit.started", asked, seconds=seconds)
        if seconds or self._ready(chosen):
            return [chosen.recipe]
        names = {i.name for i in chosen.recipe}  # the same instructions again would teach little while nothing is known
        others = [p for p in ranked if not self._ready(p) and not self._fitting(p) and {i.name for i in p.recipe} != names]
        return [chosen.recipe, *(p.recipe for p in others)][:SIDE_BY_SIDE]

    def attempt(self, proposal: Proposal) -> None:
        """Try one proposal and take its place in the standing."""
        session, stack = self._session, self._stack(proposal.against)
        before, known = session.ledger.elapsed, self._recorded(proposal)
        self._tried.add(proposal.recipe.key)
        self._waiting.pop(proposal.recipe.key, None)
        prepared = self._prepared[proposal.recipe.key]
        if stack is None:
            trial, seat = run_trial(session, prepared, session.original(), delta=session.request.delta)
        else:
            try:
                against = self._seat(stack)
            except MeasureError as error:
                session.tell("warning", f"{stack.recipe} runs no more: {error}", level=Level.WARNING)
                return
            trial, seat = run_trial(session, prepared, against, delta=STEP_DELTA)
        self._standing.trials.append(trial)
        self._warn(trial)
        if not known:
            self._spent.append(session.ledger.elapsed - before)
        if stack is not None and trial.speedup:
            gave = math.log(trial.speedup)
            if proposal.spread == STEP_SPREAD:
                self._learn_surprise(gave - (proposal.mean - stack.gain))
            self._gave[self._change(proposal)] = gave
        if trial.status == "faster":
            self._place(trial, prepared, seat, stack)
        elif stack is None:
            for repaired in repairs(trial, prepared):
                self._waiting[repaired.key] = Proposal(repaired, mean=0.95 * math.log(trial.speedup), spread=0.1)

    def _warn(self, trial: Trial) -> None:
        """Tell once, while there is time to stop, that the evaluation data is too small for what is asked."""
        few = self._session.too_few(trial.quality) if trial.quality is not None and not self._warned else None
        if few is not None:
            self._warned = True
            self._session.tell("warning", few, level=Level.WARNING)

    def finish(self) -> Standing:
        """End the living arm, and note what was left untried."""
        standing = self._standing
        self._session.reserved = self._session.reserve(ROUNDS)
        for stack in standing.stacks:
            if stack.seat is not None:
                self._session.bench.dismiss(stack.seat)
                stack.seat = None
        left = [p for p in self._proposals() if self._promising(p) or not p.against]
        standing.untried = {str(p.recipe): NO_TIME if self._promising(p) else NO_PROMISE for p in left}
        standing.untried |= {f"{i.number:02d} {i.name}": NO_PROCESSOR for i in self._barred}
        for recipe, reason in standing.untried.items():
            self._session.tell("trial.untried", f"{recipe}: not measured, {reason}", level=Level.DETAIL)
        return standing

    def _proposals(self) -> Sequence[Proposal]:
        fresh = [p for p in self._steps if p.recipe.key not in self._tried]
        return [*map(self._informed, self._waiting.values()), *map(self._sobered, fresh)]

    def _sobered(self, addition: Proposal) -> Proposal:
        """Expect of an addition what it gave on another stack; else, correct it by how additions surprised so far."""
        stack = self._stack(addition.against)
        gave = self._gave.get(self._change(addition))
        if stack is not None and gave is not None:
            return replace(addition, mean=stack.gain + gave)
        return replace(addition, mean=addition.mean + self._surprise) if addition.spread == STEP_SPREAD else addition

    def _change(self, addition: Proposal) -> frozenset[str]:
        stack = self._stack(addition.against)
        return frozenset(map(str, addition.recipe)) - frozenset(map(str, stack.recipe if stack is not None else ()))

    def _informed(self, group: Proposal) -> Proposal:
        """Believe what was tried more than the prediction.

        What the same instructions gave with other settings, on another engine say. Else, where the leader is in doubt, what
        stacks of the same instructions gave that differ in the lossy ones: their part that is not lossy is worth as much here.
        (Elsewhere that would set one engine above all that were not tried yet.)
        """
        if group.spread < GROUP_SPREAD:
            return group
        numbers = {i.name for i in group.recipe}
        siblings = [t.speedup for t in self._standing.trials if set(t.row["recipe"]) == numbers and t.speedup > 0]
        if siblings:
            return replace(group, mean=fmean(map(math.log, siblings)), spread=SIBLING_SPREAD)
        plain = bare(group.recipe)
        alike = [(s.recipe, s.gain) for s in self._standing.stacks if len(plain) and bare(s.recipe) == plain]
        if not alike or self._chance(kind(self._standing.leader.recipe)) == 1:  # type: ignore[union-attr]  # there are stacks
            return group
        return replace(group, mean=bare_gain(alike) + expected_gain(lossy_part(group.recipe), self._gains))

    def _place(self, trial: Trial, prepared: Prepared, seat: Seat | None, stack: Stack | None) -> None:
        session, gain, screened = self._session, math.log(trial.speedup), trial.comparisons["all"]
        if stack is not None:
            gain, screened = stack.gain + gain, stack.screened
        found = Stack(prepared, trial, gain, screened, seat)
        self._standing.stacks.append(found)
        facts, start = session.materials.facts, session.workload.traits
        self._steps += additions(found.recipe, gain, self._pool, facts, session.host, start)
        if self._standing.leader is found:
            if found.seat is not None:
                session.expect_claim(found.seat, screened)
            session.tell("best.changed", f"{found.recipe} ×{math.exp(gain):.2f}")
        self._end_arms()

    def _seat(self, stack: Stack) -> Seat:
        """Return a stack's living arm."""
        if stack.seat is not None and stack.seat.arm.ended:
            self._session.bench.dismiss(stack.seat)
            stack.seat = None
        if stack.seat is None:
            self._end_arms(keep=stack)
            stack.seat = self._session.bench.seat(stack.prepared, "candidate")
        return stack.seat

    def _end_arms(self, keep: Stack | None = None) -> None:
        """End the arms of stacks: but for the leader's, and the one in use, they are not worth their memory."""
        for stack in self._standing.stacks:
            if stack.seat is not None and stack is not keep and stack is not self._standing.leader:
                self._session.bench.dismiss(stack.seat)
                stack.seat = None

    def _stack(self, key: str) -> Stack | None:
        return next((stack for stack in self._standing.stacks if stack.recipe.key == key), None)

    def _offer(self, proposal: Proposal) -> Offer:
        """Weigh a proposal; what is on record already costs nothing."""
        fitting = 0.0 if self._recorded(proposal) else self._fitting(proposal)
        return Offer(
            proposal,
            chance=self._chance(kind(proposal.recipe)),
            improvement=self._improvement(proposal),
            cost=self._cost(proposal) if fitting <= FIT_SHARE * self._session.budget.limit else math.inf,
            trains=fitting > 0,
        )

    def _promising(self, proposal: Proposal) -> bool:
        """Whether it may be worth its time; while nothing was found faster, everything may."""
        worthwhile = self._standing.leader is None or self._improvement(proposal) >= WORTH_TRYING
        return worthwhile or self._recorded(proposal)

    def _improvement(self, proposal: Proposal) -> float:
        """Expected improvement of what the run will end with.

        The leader may fall when its answers are judged on data that nothing has seen, and all of its kind with it, also what
        has further lossy instructions. Then the best of another kind stands, so that is worth improving too, as much as the
        leader is in doubt.
        """
        leader = self._standing.leader
        if leader is None:
            return proposal.improvement(0.0)
        kept, above = self._chance(kind(proposal.recipe)), proposal.improvement(leader.gain)
        if kind(leader.recipe) <= kind(proposal.recipe):
            return kept * above
        return kept * self._chance(kind(leader.recipe)) * above + self._backing(proposal)

    def _backing(self, proposal: Proposal) -> float:
        """Expected improvement of what the run will end with should the leader fall."""
        leader = self._standing.leader
        if leader is None or kind(leader.recipe) <= kind(proposal.recipe):
            return 0.0
        behind = [bare_gain((s.recipe, s.gain) for s in self._standing.stacks)]
        behind += [self._chance(k) * s.gain for s in self._standing.stacks if (k := kind(s.recipe)) != kind(leader.recipe)]
        falls = 1 - self._chance(kind(leader.recipe))
        return self._chance(kind(proposal.recipe)) * falls * proposal.improvement(max(behind))

    def _chance(self, wanted: frozenset[int]) -> float:
        """Chance that the fastest of a kind will be found to keep the quality; of one not tried, no more than of its parts."""
        of_kind = [stack for stack in self._standing.stacks if kind(stack.recipe) == wanted]
        if of_kind:
            return chance(self._session, max(of_kind, key=lambda stack: stack.gain).trial, self._session.request.alpha)
        parts = {tried for stack in self._standing.stacks if (tried := kind(stack.recipe)) < wanted}
        return min([UNSEEN_CHANCE, *map(self._chance, parts)]) if wanted else 1.0

    def _cost(self, proposal: Proposal) -> Seconds:
        if self._recorded(proposal):
            return 0.0
        trying = fmean(self._spent) if self._spent else TRIAL_SECONDS
        preparing = 0.0 if self._ready(proposal) else max(PREPARE_SECONDS[i.card.cost] for i in proposal.recipe)
        return trying + preparing + self._fitting(proposal)

    def _fitting(self, proposal: Proposal) -> Seconds:
        """Seconds that trying it will train; asked once per recipe, and anew after some were prepared."""
        key = proposal.recipe.key
        if key not in self._fits:
            self._fits[key] = 0.0 if self._ready(proposal) else self._pace * self._session.fit_seconds(proposal.recipe)
        return self._fits[key]

    def _learn_pace(self, proposal: Proposal) -> None:
        """Expect of the next training what this one took, set against what was thought of it."""
        prepared, thought = self._prepared[proposal.recipe.key], self._fitting(proposal)
        if thought:
            self._pace *= max(QUICKER, (prepared.seconds - max(PREPARE_SECONDS)) / thought)

    def _learn_surprise(self, beyond: float) -> None:
        """Update the mean by which additions differ from what is expected of them (the posterior of a normal mean)."""
        self._additions += 1
        self._surprise += beyond / (SURPRISE_PRIOR + self._additions)

    def _ready(self, proposal: Proposal) -> bool:
        """Whether trying it needs no preparing; the workshop is asked once per recipe, and anew after it has prepared some."""
        key = proposal.recipe.key
        if key not in self._asked:
            self._asked[key] = key in self._prepared or self._session.workshop.ready(proposal.recipe)
        return self._asked[key]

    def _recorded(self, proposal: Proposal) -> bool:
        against = proposal.against or Recipe().key
        return self._session.ledger.done(f"trial/{against}/{proposal.recipe.key}")
