"""The order of a whole search, and what keeps it from claiming anything; the truth about every recipe is known."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.diagnose.suggest import RULES
from strop.errors import MeasureError
from strop.measure.result import Finding, Verdict
from strop.search import optimize as module
from strop.search.optimize import UNLIKELY, Search, describe, search
from tests.search.conftest import compared

PLACEBO = compared(0.0, Verdict.NO_GAIN)


class Scene:
    """A world around which the steps are planted that have tests of their own; ``order`` says when each was reached."""

    def __init__(self, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.doubt: Finding | None = None
        self.holds = True
        self.digests = ["same"]
        self.diagnosis: dict[str, Any] = {"points": [], "suggestions": [{"number": rule.number, "gain": 1.5} for rule in RULES]}
        self.gains: dict[int, float] = {}
        self.warnings: list[str] = []
        self.world = world
        climb = module.climb
        steps: dict[str, Any] = {
            "_calibrate": lambda session: PLACEBO,
            "doubt": lambda session, placebo: self.doubt,
            "measure_roofs": lambda **settings: {"gemm_float32": 1e11},
            "climb": lambda session, gains: self.gains.update(gains) or climb(session, gains),
            "choose_and_confirm": self.choose,
            "claim_parts": lambda session, standing, claims: None,
        }
        for name, act in steps.items():
            monkeypatch.setattr(module, name, self.noting(name, act))

    def noting(self, name: str, act: Any) -> Any:
        def noted(*arguments: Any, **settings: Any) -> Any:
            self.order.append(name)
            return act(*arguments, **settings)

        return noted

    def choose(self, session: Any, standing: Any, found: Search) -> None:
        leader = standing.leader.prepared
        found.confirmations.append((leader, SimpleNamespace(row={} if self.holds else None)))  # type: ignore[arg-type]
        found.result = leader if self.holds else None

    def diagnose(self, seat: Any, method: str, arguments: Any, timeout: float) -> Any:
        if isinstance(self.diagnosis, Exception):
            raise self.diagnosis
        return self.diagnosis

    def digest(self, point: str, index: int) -> str:
        return self.digests[0] if len(self.digests) == 1 else self.digests.pop()

    def search(self) -> Search:
        session = self.world.session()
        arm = SimpleNamespace(digest=self.digest, points={"batch 1": 64})
        session.original = lambda: SimpleNamespace(prepared=self.world.answer(Recipe()), profile={}, arm=arm)
        session.ledger.folder = Path("run")
        session.bench.call = self.diagnose
        session.tell = lambda name, text="", **data: self.warnings.append(text) if name == "warning" else None
        return search(session)


@pytest.fixture
def scene(world: Any, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(world(lambda recipe: 0.1 * len(recipe)), monkeypatch)


def test_a_search_goes_from_the_placebo_to_the_parts_of_what_it_confirmed(scene: Scene) -> None:
    found = scene.search()
    assert scene.order == ["_calibrate", "doubt", "measure_roofs", "climb", "choose_and_confirm", "claim_parts"]
    assert found.result is not None and found.standing.leader is not None
    assert found.result.recipe == found.standing.leader.recipe
    assert (found.placebo, found.findings, scene.warnings) == (PLACEBO, [], [])


def test_where_nothing_is_faster_nothing_is_claimed(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(world(lambda recipe: -0.1), monkeypatch)
    found = scene.search()
    assert found.result is None and found.standing.trials and found.confirmations == []
    assert scene.order[-1] == "climb"


def test_a_refuted_claim_has_no_parts(scene: Scene) -> None:
    scene.holds = False
    found = scene.search()
    assert found.result is None and len(found.confirmations) == 1 and scene.order[-1] == "choose_and_confirm"


def test_a_placebo_that_was_kept_forbids_every_claim_of_the_run(scene: Scene) -> None:
    scene.doubt = Finding(code="placebo-kept", message="planted")
    found = scene.search()
    assert found.result is None and scene.order == ["_calibrate", "doubt"], "its time is not spent on what cannot be claimed"
    assert found.findings == [scene.doubt]


def test_luck_of_processes_is_reported_and_forbids_nothing(scene: Scene) -> None:
    scene.doubt = Finding(code="process-luck", message="planted")
    found = scene.search()
    assert found.result is not None and found.findings == [scene.doubt]


def test_a_budget_in_which_nothing_could_be_confirmed_is_told_with_one_that_would_do(scene: Scene) -> None:
    scene.world.reserved = scene.world.limit
    found = scene.search()
    assert [f.code for f in found.findings] == ["budget-too-small"]
    minutes = math.ceil(scene.world.limit * 1.5 / 60)
    assert f"give a budget of {minutes}m or more" in found.findings[0].advice and found.findings[0].message in scene.warnings[0]
    assert found.standing.trials == [] and found.standing.untried


@pytest.mark.parametrize(("digests", "differing"), [(["a"], 0), (["a", "a", "b", "c", "d", "d"], 1), (list("abcdef"), 3)])
def test_an_original_that_answers_differently_twice_is_reported(digests: list[str], differing: int, scene: Scene) -> None:
    scene.digests = digests
    found = scene.search()
    assert [f.code for f in found.findings] == ["non-deterministic"] * bool(differing)
    assert all(f"to {differing} of 3 inputs" in f.message for f in found.findings)
    assert found.result is not None, "candidates are judged all the same"


def test_what_the_diagnosis_suggests_comes_first_and_what_it_knows_and_is_silent_about_last(scene: Scene) -> None:
    scene.diagnosis["suggestions"] = [{"number": RULES[0].number, "gain": 3.0}]
    scene.search()
    assert scene.gains == {rule.number: UNLIKELY for rule in RULES} | {RULES[0].number: 3.0}


def test_a_resumed_search_measures_nothing_twice(scene: Scene) -> None:
    first = scene.search()
    tried, now = list(scene.world.tried), scene.world.now
    scene.diagnosis = {}
    again = scene.search()
    assert (scene.world.tried, scene.world.now) == (tried, now)
    assert {str(trial.row) for trial in again.standing.trials} == {str(trial.row) for trial in first.standing.trials}
    assert scene.order.count("measure_roofs") == 1


def test_a_recipe_is_described_by_numbers_and_names() -> None:
    recipe = catalogue.recipe_from_json({"model_serving_framework": {}, "amp_optimizer": {}})
    assert (describe(Recipe()), describe(recipe)) == ([], ["18 amp_optimizer", "47 model_serving_framework"])


def test_on_an_accelerator_neither_roofs_nor_bottlenecks_are_measured_and_usual_gains_decide(scene: Scene) -> None:
    scene.world.traits = scene.world.traits | {Trait.ACCELERATOR}
    scene.search()
    assert "measure_roofs" not in scene.order and scene.gains == {}


def test_a_diagnosis_that_fails_costs_the_order_and_not_the_run(scene: Scene) -> None:
    scene.diagnosis = MeasureError("planted: no answer within 120 s")  # type: ignore[assignment]
    found = scene.search()
    assert found.result is not None and scene.gains == {}
    assert scene.warnings == ["no diagnosis: planted: no answer within 120 s; usual gains say what is tried first"]
