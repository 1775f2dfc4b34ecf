"""The search among training settings in a world whose truth is known: no process, no clock, but the real judging."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from strop.contract.draft import Facts
from strop.contract.recipe import Recipe
from strop.errors import DeclinedError, MeasureError, NoEffectError, TargetError, WorkerDiedError
from strop.ledger.judgement import read_comparisons
from strop.ledger.ledger import Ledger
from strop.ledger.verify import verify_ledger
from strop.measure.collect import PointProfile
from strop.measure.host import Host
from strop.measure.result import Block, Pair
from strop.search.budget import Budget
from strop.search.request import Request
from strop.search.tune import Tuned, tune
from strop.search.tuning import MOST_SEEDS, SEEDS, Tuning
from strop.testing.models import sentences_workload
from strop.trial.steps import POINT, STEPS
from strop.trial.training import Planned

HOST = Host(cpu="a test CPU", cores=2, isa=frozenset({"avx512_bf16"}))
BUCKETING, SCHEDULE, AMP, RANKS = 6, 8, 18, 22
STEP = 0.5


@dataclass
class World:
    """Planted truth; seconds pass only where it says so.

    Attributes:
        gains: instruction number → factor by which it speeds steps up.
        scores: instruction number → what it adds to the metric of a whole training.
        faults: instruction number → what its arm raises at loading.
        noise: standard deviation of a whole training's metric, by its seed.
        courses: what trainings were carried out: recipe and number of the seed.
    """

    gains: dict[int, float] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    faults: dict[int, Exception] = field(default_factory=dict)
    course_fault: str = ""
    noise: float = 0.001
    now: float = 0.0
    courses: list[tuple[str, int]] = field(default_factory=list)
    seated: list[str] = field(default_factory=list)
    alive: int = 0
    points: tuple[str, ...] = (POINT,)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def seconds(self, recipe: Recipe) -> float:
        """Of a sweep."""
        return STEPS * STEP / math.prod(self.gains.get(i.number, 1.0) for i in recipe)

    def seat(self, prepared: Planned, name: str) -> Any:
        self.now += 5
        self.seated.append(str(prepared.recipe))
        for instruction in prepared.recipe:
            if instruction.number in self.faults:
                raise self.faults[instruction.number]
        self.alive += 1
        profile = {POINT: PointProfile(call_seconds=self.seconds(prepared.recipe), discards=0)}
        arm = SimpleNamespace(peak_memory=lambda: SimpleNamespace(peak=1000), ended=False)
        marks = {"loaded": 3.0, "first_output": 4.0}
        return SimpleNamespace(prepared=prepared, arm=arm, profile=profile, marks=marks, seconds=5.0, uses=0)

    def seats(self, wanted: list[tuple[Planned, str]]) -> list[Any]:
        return [self.seat(*one) for one in wanted]

    def dismiss(self, seat: Any) -> None:
        self.alive -= 1

    def call(self, seat: Any, method: str, arguments: Any, timeout: float) -> Any:
        told = {"outcome": "prepared", "reason": "", "engine": "eager", "tallies": {}, "sensitivity": {}}
        return {"size": {"steps": 20, "samples": 8, "judging": 1.0}, "told": told, "tensor_peak": 7}[method]

    def screen(self, name: str, baseline: Any, candidate: Any, plan: Any, enough: Callable[[], bool]) -> list[Pair]:
        return [self.pair(baseline.prepared.recipe, candidate.prepared.recipe, n, 0) for n in range(12)][: plan.max_pairs]

    def confirm(
        self, name: str, baseline: Planned, candidate: Planned, plan: Any, told: Any, fits: Callable[[float], bool]
    ) -> list[Pair]:
        pairs = []
        for number in range(plan.rounds):
            seats = [self.seat(baseline, "baseline"), self.seat(candidate, "candidate")]
            for _ in range(plan.pairs):
                pairs.append(self.pair(baseline.recipe, candidate.recipe, len(pairs), number))
            told(number, *seats)
            for seat in seats:
                self.dismiss(seat)
        return pairs

    def pair(self, baseline: Recipe, candidate: Recipe, index: int, number: int) -> Pair:
        seconds = {"baseline": self.seconds(baseline), "candidate": self.seconds(candidate)}
        self.now += sum(seconds.values())
        blocks = tuple(
            Block(arm=arm, point=POINT, calls_ns=(round(1e9 * s * math.exp(self.random.normal(0, 0.01))),))
            for arm, s in seconds.items()
        )
        return Pair(index=index, round=number, candidate_first=False, blocks=blocks)


class Planted(Tuning):
    """Trains nothing: scores come from the world."""

    def _train(self, recipe: Recipe, number: int, expected: float) -> dict[str, Any]:
        world: Any = self.bench
        world.now += expected
        world.courses.append((str(recipe), number))
        if world.course_fault and len(recipe):
            return {"score": None, "failed": world.course_fault}
        noise = float(world.random.normal(0, world.noise))
        return {"score": 0.9 + noise + sum(world.scores.get(i.number, 0.0) for i in recipe), "failed": ""}


@pytest.fixture
def tuning(tmp_path: Path) -> Iterator[Callable[..., Planted]]:
    opened: list[Ledger] = []

    def build(world: World, budget: float = 3600.0, resume: bool = False, **changes: Any) -> Planted:
        folder, bench = tmp_path / "run", world
        if resume:
            opened.pop().close()
        ledger = Ledger.resume(folder) if resume else Ledger.create(folder, {"command": "optimize"})
        opened.append(ledger)
        only = changes.pop("only", ())
        return Planted(
            request=Request(budget=budget, only=only),
            ledger=ledger,
            observer=lambda event: None,
            bench=bench,  # type: ignore[arg-type]
            host=HOST,
            budget=Budget(budget, lambda: world.now),
            baseline=Planned(Recipe()),
            workload=sentences_workload(**changes),
            facts=Facts(dynamic=True),
            shop=None,  # type: ignore[arg-type]
            logs=tmp_path,
        )

    yield build
    for ledger in opened:
        ledger.close()


def statuses(found: Tuned) -> dict[str, str]:
    return {trial.row["text"]: trial.status for trial in found.standing.trials}


def kept(found: Tuned) -> set[int]:
    return {i.number for i in found.result} if found.result is not None else set()


def test_what_pays_is_kept_and_what_does_not_is_not(tuning: Callable[..., Planted], tmp_path: Path) -> None:
    world = World(gains={BUCKETING: 1.5, AMP: 2.0})
    run = tuning(world, only=(BUCKETING, AMP, SCHEDULE))
    found = tune(run)
    assert kept(found) == {BUCKETING, AMP}
    comparison = found.claims[-1].comparison
    assert comparison is not None and comparison.phase == "confirm" and comparison.speedup.low < 3.0 < comparison.speedup.high
    assert all(status != "faster" for text, status in statuses(found).items() if "lr_scheduler" in text)
    assert len(world.courses) == 2 * SEEDS and world.alive == 1  # the plain arm, which the bench ends with the run
    assert all(check.problem is None for check in verify_ledger(tmp_path / "run") if check.file != "digests.json")


def test_a_gain_that_is_not_there_is_not_confirmed(tuning: Callable[..., Planted]) -> None:
    found = tune(tuning(World(), only=(BUCKETING, AMP)))
    assert found.result is None and not found.claims
    assert set(statuses(found).values()) <= {"no worthwhile gain", "undecided"}


def test_a_loss_of_quality_is_refused_and_what_changes_less_takes_its_place(tuning: Callable[..., Planted]) -> None:
    world = World(gains={BUCKETING: 1.5, AMP: 2.0}, scores={AMP: -0.3})
    found = tune(tuning(world, only=(BUCKETING, AMP)))
    assert [sorted(i.number for i in c.recipe) for c in found.claims] == [[BUCKETING, AMP], [BUCKETING]] or [
        sorted(i.number for i in c.recipe) for c in found.claims
    ] == [[BUCKETING, AMP], [AMP], [BUCKETING]]
    assert all("worse quality" in claim.problem for claim in found.claims[:-1])
    assert kept(found) == {BUCKETING}
    assert len([text for text, _ in world.courses if text == "baseline"]) == SEEDS  # trained once for all claims


def test_a_claim_that_the_time_left_does_not_hold_is_not_begun(tuning: Callable[..., Planted]) -> None:
    """So that the run ends with what was judged, and not with what was not."""
    world = World(gains={BUCKETING: 1.5, AMP: 2.0}, scores={AMP: -0.3})
    run, told = tuning(world, only=(BUCKETING, AMP)), []
    run.observer = lambda event: told.append(event.name)

    def late(recipe: Recipe, number: int, expected: float) -> dict[str, Any]:
        score = Planted._train(run, recipe, number, expected)
        world.now = 3550.0 if len(world.courses) == 2 * SEEDS else world.now
        return score

    run._train = late  # type: ignore[method-assign]
    found = tune(run)
    assert len(found.claims) == 1 and "worse quality" in found.claims[0].problem
    assert "confirm.skipped" in told and len(world.courses) == 2 * SEEDS


def test_trainings_that_differ_much_are_judged_by_more_seeds(tuning: Callable[..., Planted], tmp_path: Path) -> None:
    world = World(gains={AMP: 2.0}, noise=0.006)
    run, told = tuning(world, only=(AMP,)), []
    run.observer = lambda event: told.append(event.name)
    found = tune(run)
    quality = found.claims[0].quality
    assert quality is not None and kept(found) == {AMP} and "course.more" in told
    assert 2 * SEEDS < len(world.courses) == 2 * quality["result"]["n"] <= 2 * MOST_SEEDS
    assert quality["result"]["test"] == "Stein's two-stage t-test"
    assert all(check.problem is None for check in verify_ledger(tmp_path / "run") if check.file != "digests.json")


def test_no_more_seeds_than_the_time_holds_and_none_for_what_looks_lost(tuning: Callable[..., Planted], tmp_path: Path) -> None:
    world = World(gains={AMP: 2.0}, noise=0.006)
    run = tuning(world, only=(AMP,))
    courses = run._train

    def late(recipe: Recipe, number: int, expected: float) -> dict[str, Any]:
        world.now = max(world.now, 3400.0)
        return courses(recipe, number, expected)

    run._train = late  # type: ignore[method-assign]
    quality = tune(run).claims[0].quality
    assert quality is not None and SEEDS < quality["result"]["n"] < 10 and world.now <= 3600
    assert len(world.courses) == 2 * quality["result"]["n"] >= 2 * SEEDS  # never one arm without the other
    (tmp_path / "run").rename(tmp_path / "first")
    lost = World(gains={AMP: 2.0}, noise=0.006, scores={AMP: -0.05})
    assert tune(tuning(lost, only=(AMP,))).result is None and len(lost.courses) == 2 * SEEDS


def test_a_seed_that_the_time_cut_in_two_is_left_out_and_the_others_are_judged(tuning: Callable[..., Planted]) -> None:
    world = World(gains={AMP: 2.0}, noise=0.006)
    run = tuning(world, only=(AMP,))
    courses = run._train

    def slow(recipe: Recipe, number: int, expected: float) -> dict[str, Any]:
        score = courses(recipe, number, expected)
        world.now = 3600.0 if number == SEEDS + 1 else world.now
        return score

    run._train = slow  # type: ignore[method-assign]
    quality = tune(run).claims[0].quality
    assert quality is not None and quality["result"]["n"] == SEEDS + 1
    assert len(world.courses) == 2 * (SEEDS + 1) + 1


def test_a_training_that_fails_takes_the_claim_away(tuning: Callable[..., Planted]) -> None:
    world = World(gains={AMP: 2.0}, course_fault="training diverged: planted")
    found = tune(tuning(world, only=(AMP,)))
    assert found.result is None
    assert found.claims[0].problem == "its training with seed 1 of 5 failed: training diverged: planted"


def test_whatever_an_arm_raises_is_a_status(tuning: Callable[..., Planted]) -> None:
    def refusal(kind: type[Exception]) -> TargetError:
        return TargetError("arm 'candidate', load", kind.__name__, "planted", "")

    faults: dict[int, Exception] = {
        BUCKETING: refusal(DeclinedError),
        SCHEDULE: refusal(NoEffectError),
        AMP: refusal(ValueError),
        RANKS: WorkerDiedError("planted death"),
    }
    found = tune(tuning(World(faults=faults), only=tuple(faults)))
    told = {trial.row["text"]: (trial.status, trial.row["reason"]) for trial in found.standing.trials}
    assert told == {
        "06 length_bucketing": ("declined", "planted"),
        "08 lr_scheduler": ("no effect", "planted"),
        "18 amp_optimizer": ("failed to run", "ValueError: planted"),
        "22 distributed_data_parallel": ("failed to run", "planted death"),
    }
    assert found.result is None


def test_what_declines_once_is_asked_no_more(tuning: Callable[..., Planted]) -> None:
    refusal = TargetError("arm 'candidate', load", DeclinedError.__name__, "planted", "")
    world = World(gains={AMP: 2.0, BUCKETING: 1.5}, faults={RANKS: refusal})
    found = tune(tuning(world, only=(AMP, BUCKETING, RANKS)))
    assert kept(found) == {AMP, BUCKETING}
    assert sum("distributed" in text for text in world.seated) == 1


def test_a_budget_that_holds_no_claim_is_told_before_any_work(tuning: Callable[..., Planted]) -> None:
    world = World(gains={AMP: 2.0})
    found = tune(tuning(world, budget=60.0, only=(AMP,)))
    assert [f.code for f in found.findings] == ["budget-too-small"] and not found.standing.trials
    assert world.seated == ["baseline"] and not world.courses
    advised = float(found.findings[0].advice.removeprefix("give a budget of ").partition("m")[0])
    assert advised >= 3


def test_the_advised_budget_holds_a_claim(tuning: Callable[..., Planted], tmp_path: Path) -> None:
    advice = tune(tuning(World(gains={AMP: 2.0}), budget=60.0, only=(AMP,))).findings[0].advice
    minutes = float(advice.removeprefix("give a budget of ").partition("m")[0])
    world = World(gains={AMP: 2.0})
    (tmp_path / "run").rename(tmp_path / "first")
    found = tune(tuning(world, budget=60 * minutes, only=(AMP,)))
    assert kept(found) == {AMP} and world.now <= 60 * minutes


def test_without_a_metric_speed_alone_is_claimed(tuning: Callable[..., Planted]) -> None:
    import strop

    world = World(gains={AMP: 2.0})
    found = tune(tuning(world, only=(AMP,), metric=strop.unjudged("planted")))
    assert kept(found) == {AMP} and not world.courses


def test_a_resumed_sitting_repeats_nothing_and_ends_alike(tuning: Callable[..., Planted]) -> None:
    world = World(gains={BUCKETING: 1.5, AMP: 2.0})
    interrupted = tuning(world, only=(BUCKETING, AMP))

    def stop(recipe: Recipe, number: int, expected: float) -> dict[str, Any]:
        if len(world.courses) == 3:
            raise KeyboardInterrupt
        return Planted._train(interrupted, recipe, number, expected)

    interrupted._train = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        tune(interrupted)
    done, started = list(world.courses), len(world.seated)
    found = tune(tuning(world, resume=True, only=(BUCKETING, AMP)))
    assert kept(found) == {BUCKETING, AMP}
    assert world.courses[:3] == done and len(world.courses) == 2 * SEEDS == len(set(world.courses))
    again = world.seated[started:]
    assert again[: again.count("baseline")] == ["baseline"] * again.count("baseline")  # no candidate was started again …
    assert again[again.count("baseline") :] == [str(found.result.without(AMP)), str(found.result)]  # but for the contributions


def test_a_resumed_sitting_with_little_time_left_goes_on_and_is_not_told_to_begin_larger(tuning: Callable[..., Planted]) -> None:
    world = World(gains={AMP: 2.0})
    first = tuning(world, only=(AMP,))
    assert kept(tune(first)) == {AMP}
    world.now = 3590.0
    found = tune(tuning(world, resume=True, only=(AMP,)))
    assert kept(found) == {AMP} and not found.findings


def test_a_plain_training_that_fails_is_an_error(tuning: Callable[..., Planted]) -> None:
    world = World(gains={AMP: 2.0})
    run = tuning(world, only=(AMP,))
    run._train = lambda recipe, number, expected: {"score": None, "failed": "planted"}  # type: ignore[method-assign]
    with pytest.raises(MeasureError, match="the plain training with seed 1 of 5 failed: planted"):
        tune(run)


def test_every_instruction_of_the_result_is_timed_against_the_rest_of_it(tuning: Callable[..., Planted], tmp_path: Path) -> None:
    world = World(gains={BUCKETING: 1.5, AMP: 2.0})
    found = tune(tuning(world, only=(BUCKETING, AMP)))
    gains = {name: read_comparisons(row["screen"])["all"].speedup for name, row in found.contributions}
    assert set(gains) == {"length_bucketing", "amp_optimizer"}
    assert gains["length_bucketing"].low < 1.5 < gains["length_bucketing"].high
    assert gains["amp_optimizer"].low < 2.0 < gains["amp_optimizer"].high
    assert world.alive == 1
    assert all(check.problem is None for check in verify_ledger(tmp_path / "run") if check.file != "digests.json")
    started = len(world.seated)
    again = tune(tuning(world, resume=True, only=(BUCKETING, AMP)))
    assert again.contributions == found.contributions and set(world.seated[started:]) == {"baseline"}


def test_contributions_are_left_out_when_the_time_is_over(tuning: Callable[..., Planted]) -> None:
    world = World(gains={BUCKETING: 1.5, AMP: 2.0})
    run = tuning(world, only=(BUCKETING, AMP))
    courses = run._train

    def last(recipe: Recipe, number: int, expected: float) -> dict[str, Any]:
        if number == SEEDS - 1 and len(recipe):
            world.now = 3590.0
        return courses(recipe, number, expected)

    run._train = last  # type: ignore[method-assign]
    found = tune(run)
    assert kept(found) == {BUCKETING, AMP} and len(found.contributions) == 1  # the one that the race took on its way


def test_a_rest_that_cannot_be_run_leaves_its_contribution_unknown(tuning: Callable[..., Planted]) -> None:
    world = World(gains={BUCKETING: 1.5, AMP: 2.0})
    run = tuning(world, only=(BUCKETING, AMP))
    seat = world.seat

    def sit(prepared: Planned, name: str) -> Any:
        if name == "baseline" and len(prepared.recipe):
            raise WorkerDiedError("planted death")
        return seat(prepared, name)

    world.seat = sit  # type: ignore[method-assign]
    found = tune(run)
    assert kept(found) == {BUCKETING, AMP}
    assert sorted(row["screen"] is None for _, row in found.contributions) == [False, True]
