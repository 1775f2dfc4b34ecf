"""The claim about a training recipe: faster on fresh processes, and as good over whole trainings from the same seeds.

Five seeds say how far whole trainings differ, and thereby how many are needed to decide; the test is one that stays exact
then. It ends at five where these lost more than is allowed, which can only refuse, and earlier than asked where time does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.ledger.guard import record_scores
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import Guard, QualityResult, two_stage_size
from strop.measure.result import Comparison, Verdict
from strop.observe import Level
from strop.search.bench import Seat
from strop.search.climb import Stack
from strop.search.run import LEAST_ROUNDS, ROUNDS
from strop.search.tuning import MOST_SEEDS, SEEDS, Price, Tuning, course_key
from strop.trial.training import Planned
from strop.units import Seconds

OUT_OF_TIME = "the time ran out before the claim was"


@dataclass(frozen=True, slots=True)
class TrainingClaim:
    """A confirmed (or refuted) claim as the ledger holds it.

    Attributes:
        recipe: what it is about.
        timing: timing and memory; ``None`` when the time ran out.
        quality: judgement of the whole trainings; ``None`` when there was none.
        judged: whether the workload asks for one.
    """

    recipe: Recipe
    timing: Mapping[str, Any] | None
    quality: Mapping[str, Any] | None
    judged: bool

    @property
    def comparison(self) -> Comparison | None:
        """The confirmed comparison with the plain training."""
        return read_comparisons(self.timing["confirm"])["all"] if self.timing else None

    @property
    def holds(self) -> bool:
        """Whether both parts are proven, each at the whole of the claim's alpha, since both must hold."""
        return not self.problem

    @property
    def refused(self) -> bool:
        """Whether it was the quality that fell, so that a recipe that changes the training less may still hold."""
        return self.quality is not None and not self.holds

    @property
    def problem(self) -> str:
        """Why it does not hold, in words; empty when it does."""
        if self.comparison is None:
            return f"{OUT_OF_TIME} measured"
        if self.comparison.verdict is not Verdict.FASTER:
            return f"confirmation says {self.comparison.verdict.value}"
        if not self.judged:
            return ""
        if self.quality is None:
            return f"{OUT_OF_TIME} judged over {SEEDS} seeds or more"
        if "wrong" in self.quality:
            return str(self.quality["wrong"])
        result = QualityResult.from_json(self.quality["result"])
        return "" if result.guard is Guard.HELD else f"{result.guard.value}: {result.describe()}"


def claim(tuning: Tuning, stack: Stack, alpha: float) -> TrainingClaim:
    """Register the claim that a recipe trains faster than the plain training and as well, then test it, the speed first.

    Args:
        tuning: the run.
        stack: what the claim is about.
        alpha: error probability of the claim.
    """
    key, judged = stack.recipe.key, not tuning.workload.metric.unjudged
    registered = tuning.ledger.step(f"registered/{key}", lambda: _register(tuning, stack, alpha))
    plan = ConfirmPlan.from_json(registered["plan"])
    tuning.tell("confirm.timing", f"confirming {stack.recipe}: {plan.rounds} fresh process pairs × {plan.pairs} pairs")
    timing = tuning.ledger.step(f"confirm/{key}", lambda: _time(tuning, stack.recipe, plan))
    tested = TrainingClaim(stack.recipe, timing, None, judged)
    if judged and tested.comparison is not None and tested.comparison.verdict is Verdict.FASTER:
        seconds = registered["course"]
        quality = tuning.ledger.step(f"quality/{key}", lambda: _judge(tuning, stack.recipe, plan.alpha, seconds))
        tested = TrainingClaim(stack.recipe, timing, quality, judged)
    words = tested.problem or "confirmed"
    tuning.tell("confirm.done", f"{stack.recipe}: {words}", level=Level.RESULT, holds=tested.holds)
    return tested


def _register(tuning: Tuning, stack: Stack, alpha: float) -> dict[str, Any]:
    """Fix rounds and pairs: as many rounds as the budget holds beside the whole trainings, from :data:`LEAST_ROUNDS` on."""
    price = Price.from_json(stack.trial.row["price"])
    room = tuning.budget.left - tuning.quality_seconds(price)
    wanted = range(ROUNDS, LEAST_ROUNDS, -1)
    rounds = next((n for n in wanted if tuning.rounds_seconds(n, price, stack.screened) <= room), LEAST_ROUNDS)
    pairs = tuning.pairs(stack.screened)
    plan = ConfirmPlan(delta=tuning.request.delta, alpha=alpha, rounds=rounds, pairs=pairs, metric="throughput")
    course = {"plain": tuning.course_seconds(tuning.plain_price()), "recipe": tuning.course_seconds(price)}
    return {"baseline": tuning.baseline.recipe.key, "candidate": stack.recipe.key, "plan": plan.to_json(), "course": course}


def _time(tuning: Tuning, recipe: Recipe, plan: ConfirmPlan) -> dict[str, Any] | None:
    """Take the registered pairs; ``None`` when the budget ended before they were complete, so that nothing is claimed."""
    name, starts = f"confirm/{recipe.key}", []

    def told(number: int, baseline: Seat, candidate: Seat) -> None:
        both = {"baseline": baseline, "candidate": candidate}
        starts.append(
            {arm: {"peak": s.arm.peak_memory().peak, "marks": dict(s.marks), "seconds": s.seconds} for arm, s in both.items()}
        )
        tuning.tell("confirm.round", f"round {number + 1} of {plan.rounds}", round=number + 1)
        if number == plan.rounds - 1:
            tensors.update({arm: tuning.bench.call(s, "tensor_peak", {}, 120.0) for arm, s in both.items()})

    tensors: dict[str, int] = {}
    pairs = tuning.bench.confirm(
        name, tuning.baseline, Planned(recipe), plan, told, fits=lambda seconds: tuning.budget.left > seconds
    )
    if len(pairs) < plan.rounds * plan.pairs:
        return None
    judgement = record_judgement(tuning.ledger, name.replace("/", "-"), plan, pairs, tuning.bench.points)
    nothing = {"baseline": None, "candidate": None}
    return {"confirm": judgement, "checks": [], "starts": starts, "tensors": tensors, "disk": nothing}


def _judge(tuning: Tuning, recipe: Recipe, alpha: float, seconds: Mapping[str, Seconds]) -> dict[str, Any] | None:
    """Train both from the same seeds and compare the metric; ``None`` when the time ran out.

    Raises:
        MeasureError: the plain training itself fails, so that there is nothing to compare with.
    """
    pairs: list[tuple[float, float]] = []
    seeds, margin = SEEDS, 0.0
    while len(pairs) < seeds and (len(pairs) < SEEDS or _affordable(tuning, recipe, len(pairs), seconds)):
        both = _train_both(tuning, recipe, len(pairs), seeds, seconds)
        if both is None:
            break
        if both[1]["failed"]:
            return {"wrong": f"its training with seed {len(pairs) + 1} of {seeds} failed: {both[1]['failed']}"}
        pairs.append((float(both[0]["score"]), float(both[1]["score"])))
        if len(pairs) == SEEDS:
            margin = tuning.request.max_drop.margin(fmean(plain for plain, _ in pairs))
            seeds = _seeds(tuning, pairs, margin, alpha)
    if len(pairs) < SEEDS:
        return None
    plain, trained = zip(*pairs, strict=True)
    return record_scores(
        tuning.ledger, f"{recipe.key}-seeds", plain, trained, sources=None,
        metric=tuning.workload.metric.name, higher_is_better=tuning.workload.metric.higher_is_better, alpha=alpha,
        margin=margin, smallest=SEEDS, proportions=False, pilot=SEEDS,
    )  # fmt: skip


def _affordable(tuning: Tuning, recipe: Recipe, number: int, seconds: Mapping[str, Seconds]) -> bool:
    """Whether the time left holds both trainings from a seed, less what is on record."""
    arms = {"plain": tuning.baseline.recipe, "recipe": recipe}
    undone = [seconds[arm] for arm, trained in arms.items() if not tuning.ledger.done(course_key(trained.key, number))]
    return not undone or tuning.budget.allows(sum(undone), 0.0)


def _train_both(
    tuning: Tuning, recipe: Recipe, number: int, seeds: int, seconds: Mapping[str, Seconds]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Train plainly and by the recipe from one seed; ``None`` when the time ran out before both were begun."""
    if tuning.budget.left <= 0:
        return None
    plain = tuning.course(tuning.baseline.recipe, number, seeds, seconds["plain"])
    if plain["failed"]:
        raise MeasureError(f"the plain training with seed {number + 1} of {seeds} failed: {plain['failed']}")
    if tuning.budget.left <= 0:
        return None
    return plain, tuning.course(recipe, number, seeds, seconds["recipe"])


def _seeds(tuning: Tuning, pairs: Sequence[tuple[float, float]], margin: float, alpha: float) -> int:
    """Return how many seeds the spread of the first ones asks for; no more of them where they lost more than is allowed."""
    sign = 1 if tuning.workload.metric.higher_is_better else -1
    difference = sign * np.array([trained - plain for plain, trained in pairs])
    if margin <= 0 or float(difference.mean()) <= -margin:
        return SEEDS
    wanted = min(MOST_SEEDS, two_stage_size(difference, margin=margin, alpha=alpha))
    if wanted > SEEDS:
        tuning.tell("course.more", f"trainings differ so much by their seed that {wanted} seeds decide, not {SEEDS}")
    return wanted
