"""One trial: its status follows from what was planted, whatever happens, and it is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from strop import catalogue
from strop.contract.card import Fidelity
from strop.contract.draft import EngineOptions
from strop.contract.recipe import Recipe
from strop.errors import MeasureError, WrongAnswersError
from strop.ledger.judgement import read_comparisons, rejudge
from strop.ledger.ledger import Ledger
from strop.measure.quality import judge_scores
from strop.pipeline import Outcome, Preparation
from strop.search.request import Request
from strop.search.session import Session
from strop.search.trials import Trial, fidelity, run_trial
from strop.trial.workshop import Prepared
from tests.measure.test_judge import pair

RECIPE = catalogue.recipe_from_json({"amp_optimizer": {}})
N = 2000
"""Examples of each split."""


def prepared(recipe: Recipe = RECIPE, outcome: Outcome = Outcome.PREPARED, reason: str = "") -> Prepared:
    preparation = Preparation(outcome=outcome, reason=reason, tallies={"amp_optimizer": {"casts": 1}})
    return Prepared(recipe=recipe, folder=Path("none"), preparation=preparation, options=EngineOptions(), seconds=3.0)


class Planted:
    """Stands where a session does; its ledger and all judging are real, the candidate's time and answers are planted.

    Attributes:
        theta: logarithm of candidate time / original time.
        lost: examples, of 2000, that only the original gets right; ``None``: no quality is claimed.
        hits: what happens at a step (``seat``, ``insane``, ``screen``, ``examine``), instead of what usually does.
    """

    chance_to_confirm, _confirming = Session.chance_to_confirm, Session._confirming

    def __init__(self, ledger: Ledger, theta: float = -0.5, lost: int | None = None, **hits: Callable[[], Any]) -> None:
        self.theta, self.lost, self.hits = theta, lost, hits
        self.ledger, self.request, self.spread = ledger, Request(), 0.03
        self.materials = SimpleNamespace(points=("p0",))
        split = SimpleNamespace(inputs=range(N))
        self.workload = SimpleNamespace(splits={"screening": split, "confirming": split})
        self.bench = self.examiner = self
        self.alive: list[Any] = []
        self.told: list[str] = []

    def original(self) -> Any:
        return SimpleNamespace(prepared=prepared(Recipe()))

    def out_of_time(self) -> bool:
        return False

    def tell_trial(self, row: Any) -> None:
        self.told.append(row["status"])

    def hit(self, step: str) -> Any:
        return self.hits[step]() if step in self.hits else None

    def seat(self, what: Prepared, name: str) -> Any:
        self.hit("seat")
        self.alive.append(SimpleNamespace(prepared=what, name=name))
        return self.alive[-1]

    def dismiss(self, seat: Any) -> None:
        self.alive.remove(seat)

    def insane(self, original: Any, candidate: Any, worst: Fidelity) -> Any:
        return self.hit("insane")

    def screen(self, name: str, baseline: Any, candidate: Any, plan: Any, enough: Any) -> Any:
        self.hit("screen")
        noise = np.random.default_rng(0).normal(0, 0.005, plan.max_pairs)
        return [pair(number, [self.theta + float(value)]) for number, value in enumerate(noise)]

    def examine(self, split: str, original: Any, candidate: Any) -> Any:
        self.hit("examine")
        if self.lost is None:
            return None
        ours, theirs = np.ones(N), np.ones(N)
        theirs[: self.lost] = 0
        return {"result": judge_scores(ours, theirs, metric="accuracy", margin=0.01, alpha=0.05).to_json()}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "run", {}) as made:
        yield made


def tried(session: Any, what: Prepared | None = None, name: str = "") -> tuple[Trial, Any]:
    return run_trial(session, what or prepared(), session.original(), delta=0.02, name=name)


def fail(error: Exception) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    ("theta", "lost", "status"),
    [
        (-0.5, None, "faster"),
        (-0.5, 0, "faster"),
        (-0.5, 8, "faster"),
        (-0.5, 22, "unproven quality"),
        (-0.5, 200, "worse quality"),
        (0.0, 0, "no worthwhile gain"),
        (0.5, 0, "slower"),
    ],
)
def test_the_status_follows_from_speed_and_then_from_answers(theta: float, lost: int | None, status: str, ledger: Ledger) -> None:
    session = Planted(ledger, theta, lost)
    trial, seat = tried(session)
    assert trial.status == status == session.told[0]
    assert (seat is not None) == (status == "faster")
    assert session.alive == ([seat] if seat else []), "an arm that is not worth keeping is ended"
    assert trial.speedup == pytest.approx(np.exp(-theta), rel=0.01)
    assert (trial.quality is not None) == (lost is not None and theta < 0), "answers of what is not faster are not judged"


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PREPARED])
def test_what_could_not_be_prepared_is_never_started(outcome: Outcome, ledger: Ledger) -> None:
    session = Planted(ledger, seat=fail(AssertionError("started")))
    trial, seat = tried(session, prepared(outcome=outcome, reason="planted"))
    assert (trial.status, trial.row["reason"], seat) == (outcome.value, "planted", None)
    assert (trial.comparisons, trial.speedup, trial.quality) == ({}, 0.0, None)


@pytest.mark.parametrize(
    ("hits", "status", "reason"),
    [
        ({"seat": fail(MeasureError("planted death"))}, "failed to run", "planted death"),
        ({"insane": lambda: "output 0 holds NaN"}, "wrong", "output 0 holds NaN"),
        ({"insane": fail(WrongAnswersError("planted"))}, "wrong", "planted"),
        ({"screen": fail(MeasureError("planted hang"))}, "failed to run", "planted hang"),
        ({"examine": fail(WrongAnswersError("the metric fails"))}, "wrong", "the metric fails"),
        ({"examine": fail(MeasureError("planted crash"))}, "failed to run", "planted crash"),
    ],
)
def test_whatever_happens_is_a_result_and_leaves_no_arm(hits: Any, status: str, reason: str, ledger: Ledger) -> None:
    session = Planted(ledger, **hits)
    trial, seat = tried(session)
    assert (trial.status, trial.row["reason"], seat, session.alive) == (status, reason, None, [])


def test_what_is_plainly_wrong_is_not_timed(ledger: Ledger) -> None:
    session = Planted(ledger, insane=lambda: "wrong", screen=fail(AssertionError("timed")))
    assert tried(session)[0].comparisons == {}


def test_a_trial_on_record_is_not_made_again_and_its_verdict_follows_from_the_samples(ledger: Ledger) -> None:
    first, _ = tried(Planted(ledger, lost=0))
    again, seat = tried(Planted(ledger, seat=fail(AssertionError("started again"))))
    assert (again, seat) == (first, None)
    assert again.preparation == prepared().preparation
    assert rejudge(ledger.folder, first.row["screen"]) == read_comparisons(first.row["screen"])
    assert first.comparisons["all"].speedup.low < first.speedup < first.comparisons["all"].speedup.high


def test_the_same_recipe_under_another_name_is_another_trial(ledger: Ledger) -> None:
    tried(Planted(ledger))
    with pytest.raises(AssertionError, match="started again"):
        tried(Planted(ledger, seat=fail(AssertionError("started again"))), name="placebo")


def test_a_recipe_is_as_faithful_as_its_least_faithful_instruction() -> None:
    assert fidelity(Recipe()) is Fidelity.EXACT
    int8 = catalogue.recipe_from_json({"static_quantization": {}, "memory_layout": {}})
    assert fidelity(int8) is Fidelity.LOSSY
