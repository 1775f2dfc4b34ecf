"""A world in which the truth about every recipe is known: the search's decisions are tested without a clock or a process.

``World.session`` stands where a real session stands. Trials are answered from the planted truth and cost planted seconds
of a clock that only they move.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from strop.contract.card import Cost
from strop.contract.draft import EngineOptions, Facts
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.host import Host
from strop.measure.quality import QualityResult
from strop.measure.result import Comparison, Interval, Verdict
from strop.pipeline import Outcome, Preparation
from strop.search.budget import Budget
from strop.search.request import Request
from strop.search.run import ROUNDS
from strop.trial.workshop import Prepared

HOST = Host(cpu="a test CPU", cores=2, isa=frozenset({"avx2", "avx512_vnni"}))


def compared(gain: float, verdict: Verdict, phase: str = "screen", p: float = 0.001) -> Comparison:
    """A comparison whose estimate is exactly ``gain`` (logarithm of the speed-up)."""
    s = math.exp(gain)
    evidence = {"theta": -gain, "sigma": 0.02, "s": 0.01, "p": p}
    interval = Interval(low=s * 0.99, estimate=s, high=s * 1.01, confidence=0.95)
    return Comparison(
        point="all", phase=phase, verdict=verdict, speedup=interval, pairs=8, rounds=1, alpha=0.05, delta=0.0, evidence=evidence
    )  # fmt: skip


@dataclass
class World:
    """Planted truth.

    Attributes:
        gain: recipe → logarithm of its true speed-up over the original.
        status: recipe → what the guard says of a fast one: ``"faster"``, ``"worse quality"`` or ``"unproven quality"``.
        outcome: recipe → how preparing it ends.
        limit: budget in seconds.
        reserved: seconds set aside for confirming.
        fitting: seconds that a recipe trains, if it does.
        quality: what the screening split shows of every recipe.
        traits: of the workload; without a teacher nothing trains.
    """

    gain: Callable[[Recipe], float]
    status: Callable[[Recipe], str] = lambda recipe: "faster"
    outcome: Callable[[Recipe], Outcome] = lambda recipe: Outcome.PREPARED
    limit: float = 10_000.0
    reserved: float = 100.0
    trial_seconds: float = 10.0
    prepare_seconds: float = 10.0
    sensitivity: dict[str, float] = field(default_factory=dict)
    fitting: float = 100.0
    quality: QualityResult | None = None
    traits: frozenset[Trait] = frozenset({Trait.INFERENCE})
    fitted: list[list[str]] = field(default_factory=list)
    now: float = 0.0
    tried: list[tuple[str, str]] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    alive: int = 0
    steps: dict[str, Any] = field(default_factory=dict)

    def session(self, facts: Facts | None = None, only: tuple[int, ...] = ()) -> Any:
        """A session of this world; several may follow each other on one ledger, as resumed sittings do."""
        return SimpleNamespace(
            materials=SimpleNamespace(facts=facts or Facts(dynamic=True, points={"batch 1": 4}), points=("batch 1",)),
            host=HOST,
            workload=SimpleNamespace(traits=self.traits),
            request=Request(only=only),
            budget=Budget(self.limit, lambda: self.now),
            reserved=self.reserved,
            round_seconds=self.reserved / 10,
            reserve=lambda rounds: self.reserved * (1 + rounds / ROUNDS) / 2,
            pair_seconds=1.0,
            baseline=self.answer(Recipe()),
            ledger=_Ledger(self),
            workshop=SimpleNamespace(ready=lambda recipe: recipe.key in self.prepared),
            bench=SimpleNamespace(seat=self.seat, seated=self.seated, dismiss=self.dismiss),
            original=lambda: SimpleNamespace(prepared=self.answer(Recipe()), profile={}),
            prepare=self.prepare,
            fit_seconds=self.fit_seconds,
            too_few=lambda screened: None,
            expect_claim=lambda seat, screened: None,
            tell=lambda name, text="", **data: None,
            tell_trial=lambda row: None,
        )

    def fit_seconds(self, recipe: Recipe) -> float:
        """Seconds that a recipe trains; nothing once another has trained alike, here by the settings of what trains."""
        training = [str(i) for i in recipe if i.card.cost is Cost.FIT]
        return 0.0 if not training or training in self.fitted else self.fitting

    def prepare(self, recipes: Sequence[Recipe], **keep: float) -> list[Prepared]:
        """Prepare side by side: together they cost what one costs, and what trains costs that besides."""
        fresh = [recipe for recipe in recipes if recipe.key not in self.prepared]
        for recipe in fresh:
            if seconds := self.fit_seconds(recipe):
                assert len(recipes) == 1, "a training has the machine to itself"
                self.now += seconds
                self.fitted.append([str(i) for i in recipe if i.card.cost is Cost.FIT])
        self.now += self.prepare_seconds if fresh else 0.0
        self.prepared += [recipe.key for recipe in fresh]
        return [self.answer(recipe) for recipe in recipes]

    def answer(self, recipe: Recipe) -> Prepared:
        """What preparing gives."""
        preparation = Preparation(outcome=self.outcome(recipe), sensitivity=self.sensitivity)
        return Prepared(recipe=recipe, folder=None, preparation=preparation, options=EngineOptions(), seconds=1.0)  # type: ignore[arg-type]

    def step(self, key: str, compute: Callable[[], Any]) -> Any:
        """Answer a trial from the truth; anything else is computed."""
        if key not in self.steps:
            self.steps[key] = self._trial(key, compute) if key.startswith("trial/") else compute()
        return self.steps[key]

    def seat(self, prepared: Prepared, name: str) -> Any:
        """A living arm."""
        self.alive += 1
        return SimpleNamespace(prepared=prepared, name=name, arm=SimpleNamespace(ended=False))

    @contextlib.contextmanager
    def seated(self, prepared: Prepared, name: str) -> Iterator[Any]:
        """A living arm for a while."""
        seat = self.seat(prepared, name)
        yield seat
        self.dismiss(seat)

    def dismiss(self, seat: Any) -> None:
        """End an arm."""
        self.alive -= 1

    def _trial(self, key: str, compute: Callable[[], Any]) -> dict[str, Any]:
        closure = dict(zip(compute.__code__.co_freevars, (c.cell_contents for c in compute.__closure__ or ()), strict=True))
        prepared, against = closure["prepared"], closure["against"]
        self.now += self.trial_seconds
        self.tried.append((str(against.prepared.recipe), str(prepared.recipe)))
        row = {"key": prepared.recipe.key, "against": against.prepared.recipe.key, "text": str(prepared.recipe), "seconds": 1.0}
        row |= {
            "recipe": prepared.recipe.to_json(),
            "preparation": prepared.preparation.to_json(),
            "screen": None,
            "quality": self.quality and {"result": self.quality.to_json()},
            "reason": "",
        }
        if not prepared.ready:
            return {**row, "status": prepared.preparation.outcome.value}
        gain = self.gain(prepared.recipe) - self.gain(against.prepared.recipe)
        verdict = Verdict.FASTER if gain > math.log1p(closure["delta"]) else Verdict.NO_GAIN
        row["screen"] = {"comparisons": {"all": compared(gain, verdict).to_json()}}
        if verdict is not Verdict.FASTER:
            return {**row, "status": verdict.value}
        status = self.status(prepared.recipe)
        if status == "faster":
            closure["alive"].append(self.seat(prepared, "candidate"))
        return {**row, "status": status}


class _Ledger:
    def __init__(self, world: World) -> None:
        self._world = world
        self.step = world.step

    @property
    def elapsed(self) -> float:
        return self._world.now

    def done(self, key: str) -> bool:
        return key in self._world.steps


@pytest.fixture
def world() -> type[World]:
    """The class; a test plants its own truth."""
    return World
