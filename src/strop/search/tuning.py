"""What the run of a training workload adds: what a whole training costs, and what proving its quality will."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from strop.contract.draft import Facts
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import MeasureError, TargetError
from strop.measure.arm import Arm
from strop.measure.collect import PointProfile, block_plan
from strop.measure.confirm import FAR_ROUND, confirm_size
from strop.measure.result import Comparison
from strop.search.bench import Seat
from strop.search.run import LEAST_ROUNDS, Run
from strop.trial.steps import POINT, STEPS
from strop.trial.training import TrainingShop
from strop.units import Seconds

SEEDS = 5
"""Whole trainings of each arm that its quality is judged by, at least."""

MOST_SEEDS = 20
"""And at most, however much they differ."""

TYPICAL_GAIN = 2.0
"""Guess, before anything was tried, of how much faster the result takes its steps."""

SIZE_TIMEOUT: Seconds = 600.0
COURSE_TIMEOUT: Seconds = 60.0
PATIENCE = 4.0
"""A whole training counts as hung after this many times what it should take, and :data:`COURSE_TIMEOUT` more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a training's process takes.

    Attributes:
        starting: seconds to start it and warm it.
        loading: the part of them until its first sweep was done.
        profile: of its sweeps.
    """

    starting: Seconds
    loading: Seconds
    profile: PointProfile

    @classmethod
    def of(cls, seat: Seat) -> Price:
        """Read it off a living arm."""
        return cls(starting=seat.seconds, loading=seat.marks["first_output"], profile=seat.profile[POINT])

    def faster(self, gain: float) -> Price:
        """The price of a training that loads as fast and whose steps are ``gain`` times faster."""
        return replace(self, profile=replace(self.profile, call_seconds=self.profile.call_seconds / gain))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Price:
        """Rebuild a price from :meth:`to_json`."""
        return cls(**{**row, "profile": PointProfile(**row["profile"])})


@dataclass(slots=True, kw_only=True)
class Tuning(Run):
    """The run of a training workload.

    Attributes:
        workload: what is trained.
        facts: about it.
        shop: describes its processes.
        logs: folder for their output.
        size: of the plain training: ``steps``, ``samples`` in each, seconds that ``judging`` its metric takes, and ``price``.
    """

    workload: TrainingWorkload
    facts: Facts
    shop: TrainingShop
    logs: Path
    size: Mapping[str, Any] = field(default_factory=dict)

    def measure_size(self) -> None:
        """Ask the plain training how long it is, and note what its process takes."""

        def ask() -> dict[str, Any]:
            plain = self.original()
            return {**self.bench.call(plain, "size", {}, SIZE_TIMEOUT), "price": Price.of(plain).to_json()}

        self.size = self.ledger.step("size", ask)

    def expect(self, candidate: Price | None = None, screened: Comparison | None = None) -> None:
        """Set aside what confirming a candidate takes; before there is one, of one with a typical gain."""
        candidate = candidate or self.plain_price().faster(TYPICAL_GAIN)
        self.reserved = self.rounds_seconds(LEAST_ROUNDS, candidate, screened) + self.quality_seconds(candidate)

    def plain_price(self) -> Price:
        """What the plain training takes."""
        return Price.from_json(self.size["price"])

    def rounds_seconds(self, rounds: int, candidate: Price, screened: Comparison | None) -> Seconds:
        """Return what ``rounds`` fresh pairs of processes take, with their pairs."""
        plain = self.plain_price()
        pair = block_plan({POINT: plain.profile}, {POINT: candidate.profile}).pair_seconds
        return rounds * (plain.starting + candidate.starting + self.pairs(screened) * pair)

    def quality_seconds(self, candidate: Price) -> Seconds:
        """Return what the whole trainings take; those of the plain training that are on record are not repeated."""
        if self.workload.metric.unjudged:
            return 0.0
        undone = sum(not self.ledger.done(course_key(self.baseline.recipe.key, number)) for number in range(SEEDS))
        return undone * self.course_seconds(self.plain_price()) + SEEDS * self.course_seconds(candidate)

    def pairs(self, screened: Comparison | None) -> int:
        """Return the number of pairs in a round: as screening advises, or few while nothing was screened."""
        if screened is None:
            return FAR_ROUND
        return confirm_size(screened.evidence["sigma"], screened.evidence["theta"], self.request.delta, self.spread)

    def course_seconds(self, price: Price) -> Seconds:
        """Return what a whole training takes, judging included, as far as its steps tell."""
        steps = self.size["steps"] * price.profile.call_seconds / STEPS
        return float(price.loading + steps + self.size["judging"])

    def course(self, recipe: Recipe, number: int, seeds: int, expected: Seconds) -> dict[str, Any]:
        """Train from beginning to end in a fresh process, once; return ``score`` and ``looks``, or what ``failed``.

        Args:
            recipe: how.
            number: of the seed among those of the run.
            seeds: how many there are going to be, for whoever watches.
            expected: seconds; much more than that counts as hung.
        """

        def train() -> dict[str, Any]:
            self.tell("course.started", f"training {recipe} from beginning to end, seed {number + 1} of {seeds}")
            return self._train(recipe, number, expected)

        return dict(self.ledger.step(course_key(recipe.key, number), train))

    def _train(self, recipe: Recipe, number: int, expected: Seconds) -> dict[str, Any]:
        seed = self.request.seed + number
        log = self.logs / f"course-{recipe.key}-{number}.log"
        try:
            with contextlib.closing(Arm.start(self.shop.course(recipe, seed), seed=seed, log=log)) as arm:
                arm.load(COURSE_TIMEOUT + PATIENCE * expected)
                return {**arm.call("told"), "peak": arm.peak_memory().peak, "failed": ""}
        except TargetError as error:
            return {"score": None, "failed": error.detail}
        except MeasureError as error:  # died, hung, or out of memory: a result like any other
            return {"score": None, "failed": str(error)}


def course_key(recipe: str, number: int) -> str:
    """Return the ledger's key of a whole training: by which recipe, and with the how manieth seed of the run."""
    return f"course/{recipe}/{number}"
