"""A claim holds only if everything about it does: speed on fresh processes, answers on unseen data, honest arms, and time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from strop import catalogue
from strop.contract.draft import EngineOptions
from strop.contract.recipe import Recipe
from strop.errors import MeasureError, WorkerDiedError, WrongAnswersError
from strop.ledger.judgement import rejudge
from strop.ledger.ledger import Ledger
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import judge_scores
from strop.measure.result import Finding, Verdict
from strop.pipeline import Outcome, Preparation
from strop.search import confirm as module
from strop.search.confirm import Confirmation, confirm
from strop.search.request import Request
from strop.search.run import LEAST_ROUNDS, ROUNDS
from strop.trial.workshop import Prepared
from tests.measure.test_judge import pair
from tests.search.conftest import compared

ALPHA = 0.03
SCREENED = compared(0.5, Verdict.FASTER)


def prepared(recipe: Recipe) -> Prepared:
    preparation = Preparation(outcome=Outcome.PREPARED)
    return Prepared(recipe=recipe, folder=Path("none"), preparation=preparation, options=EngineOptions(), seconds=0.0)


RESULT = prepared(catalogue.recipe_from_json({"amp_optimizer": {}}))


class Planted:
    """Stands where a session does; the ledger and all judging are real, times and answers are planted.

    Attributes:
        theta: logarithm of candidate time / original time.
        lost: of 2000 examples, those that only the original gets right; ``None``: no quality is claimed.
        rounds: how many rounds the time allows.
        left: seconds left of the budget.
        findings: what the audits find.
    """

    def __init__(self, ledger: Ledger, theta: float = -0.5, lost: int | None = 0, rounds: int = ROUNDS, **request: Any) -> None:
        self.theta, self.lost, self.rounds, self.left = theta, lost, rounds, 500.0
        self.findings: list[Finding] = []
        self.ledger, self.request, self.spread = ledger, Request(**request), 0.01
        self.baseline = prepared(Recipe())
        self.materials = SimpleNamespace(points=("p0",))
        self.workload = SimpleNamespace(quality=SimpleNamespace(unjudged="" if lost is not None else "speed only"))
        self.bench = self.examiner = self.budget = self
        self.steps: list[str] = []
        self.told: list[str] = []
        self.tensors: Any = 1 << 20
        self.odd: str | None = None
        self.dying = ""

    def tell(self, name: str, text: str = "", **data: Any) -> None:
        self.told.append(name)

    def original(self) -> Any:
        return SimpleNamespace()

    @contextlib.contextmanager
    def opened(self, what: Prepared, name: str) -> Iterator[Any]:
        yield SimpleNamespace(prepared=what)

    def insane(self, original: Any, candidate: Any, fidelity: Any) -> str | None:
        return self.odd

    def die(self, when: str) -> None:
        arm, _, then = self.dying.partition(" ")
        if then == when:
            error = WorkerDiedError(f"arm {arm} died {when}")
            error.arm = arm
            raise error

    def examine(self, split: str, original: Any, candidate: Any, alpha: float) -> Any:
        if self.lost is None:
            return None
        self.steps.append(f"examined at {alpha}")
        self.die("answering")
        if self.lost is not None and self.lost < 0:
            raise WrongAnswersError("the metric fails on its answers")
        ours, theirs = np.ones(2000), np.ones(2000)
        theirs[: self.lost] = 0
        return {"result": judge_scores(ours, theirs, metric="accuracy", margin=0.01, alpha=alpha).to_json()}

    def confirm(self, name: str, baseline: Any, candidate: Any, plan: ConfirmPlan, told: Any, fits: Any) -> Any:
        self.steps.append("timed")
        self.die("timed")
        noise = np.random.default_rng(0)
        pairs = []
        for number in range(min(self.rounds, plan.rounds)):
            pairs += [pair(len(pairs) + i, [self.theta + float(noise.normal(0, 0.01))], round=number) for i in range(plan.pairs)]
            told(number, self.arm(2000), self.arm(1000))
        return pairs

    def arm(self, peak: int) -> Any:
        worker = SimpleNamespace(peak_memory=lambda: SimpleNamespace(peak=peak))
        return SimpleNamespace(arm=worker, marks={"first_output": 1.0}, seconds=2.0, profile={})

    def call(self, seat: Any, method: str, arguments: Any, timeout: float) -> Any:
        if isinstance(self.tensors, Exception):
            raise self.tensors
        return self.tensors


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "run", {}) as made:
        yield made


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Finding]]:
    """What audits find, and no looking at arms alone: both have tests of their own, with real processes."""
    found: dict[str, list[Finding]] = {"audit": []}
    monkeypatch.setattr(module, "audit", lambda baseline, candidate, seed, calls: found["audit"])
    monkeypatch.setattr(module, "_solo", lambda session, baseline, candidate: {})
    monkeypatch.setattr(Prepared, "size", 7)
    return found


def confirmed(session: Any) -> Confirmation:
    return confirm(session, RESULT, SCREENED, ALPHA)


def test_a_claim_holds_where_speed_and_answers_do(ledger: Ledger) -> None:
    session = Planted(ledger)
    claim = confirmed(session)
    assert claim.holds and claim.problem == ""
    assert claim.comparisons["all"].verdict is Verdict.FASTER
    assert claim.comparisons["all"].speedup.low < np.exp(0.5) < claim.comparisons["all"].speedup.high
    assert session.steps == [f"examined at {ALPHA}", "timed"], "the answers first, at the claim's own alpha"
    assert claim.row is not None
    assert rejudge(ledger.folder, claim.row["confirm"]) == claim.comparisons
    assert len(claim.row["starts"]) == ROUNDS and claim.row["starts"][0]["candidate"]["peak"] == 1000
    assert (claim.row["tensors"], claim.row["disk"]) == (
        {"baseline": 1 << 20, "candidate": 1 << 20},
        {"baseline": 7, "candidate": 7},
    )


def test_the_plan_is_on_disk_before_anything_is_looked_at(ledger: Ledger) -> None:
    session = Planted(ledger)
    examine = session.examine

    def look(*arguments: Any) -> Any:
        assert ledger.done(f"registered/{RESULT.recipe.key}") and not ledger.done(f"quality/{RESULT.recipe.key}")
        return examine(*arguments)

    session.examine = look  # type: ignore[method-assign]
    confirmed(session)
    told = ledger.step(f"registered/{RESULT.recipe.key}", dict)
    assert (told["baseline"], told["candidate"]) == (Recipe().key, RESULT.recipe.key)
    assert (told["plan"]["alpha"], told["plan"]["rounds"], told["plan"]["least"]) == (ALPHA, ROUNDS, LEAST_ROUNDS)


def test_a_registered_plan_is_kept_when_a_later_sitting_would_plan_otherwise(ledger: Ledger) -> None:
    confirmed(Planted(ledger, rounds=1))
    later = Planted(ledger)
    assert confirm(later, RESULT, SCREENED, alpha=0.5).row is None, "what was measured is measured"  # type: ignore[arg-type]
    assert ledger.step(f"registered/{RESULT.recipe.key}", dict)["plan"]["alpha"] == ALPHA
    assert later.steps == []


@pytest.mark.parametrize(("lost", "word"), [(22, "unproven quality"), (200, "worse quality")])
def test_a_claim_whose_answers_are_not_as_good_is_refuted_without_timing(lost: int, word: str, ledger: Ledger) -> None:
    session = Planted(ledger, lost=lost)
    claim = confirmed(session)
    assert not claim.holds and claim.problem.startswith(word)
    assert session.steps == [f"examined at {ALPHA}"] and claim.comparisons == {}


def test_answers_that_cannot_be_judged_are_wrong(ledger: Ledger) -> None:
    session = Planted(ledger, lost=-1)
    claim = confirmed(session)
    assert claim.problem == "wrong: the metric fails on its answers"
    assert claim.quality is None and "timed" not in session.steps


def test_where_no_quality_is_claimed_speed_decides(ledger: Ledger) -> None:
    session = Planted(ledger, lost=None)
    claim = confirmed(session)
    assert claim.holds and claim.quality is None and session.steps == ["timed"]


@pytest.mark.parametrize(("theta", "verdict"), [(0.0, "no worthwhile gain"), (0.5, "slower"), (-0.02, "undecided")])
def test_a_speed_that_fresh_processes_do_not_show_is_not_claimed(theta: float, verdict: str, ledger: Ledger) -> None:
    assert confirmed(Planted(ledger, theta=theta)).problem == f"confirmation says {verdict}"


@pytest.mark.parametrize(("rounds", "exact", "holds"), [(5, False, True), (3, False, True), (2, False, False), (4, True, False)])
def test_a_claim_rests_on_enough_rounds_or_on_none(rounds: int, exact: bool, holds: bool, ledger: Ledger) -> None:
    claim = confirm(Planted(ledger, rounds=rounds, exact=exact), RESULT, SCREENED, 0.05)  # type: ignore[arg-type]
    assert claim.holds is holds
    assert claim.problem == ("" if holds else "the time ran out before the claim was measured; give a larger budget")


@pytest.mark.parametrize(("code", "holds"), [("cached-results", False), ("timed-answers-differ", False), ("other-doubt", True)])
def test_a_dishonest_arm_claims_nothing(code: str, holds: bool, looks: dict[str, list[Finding]], ledger: Ledger) -> None:
    looks["audit"] = [Finding(code=code, message="planted")]
    claim = confirmed(Planted(ledger))
    assert claim.problem == ("" if holds else "an audit failed: planted")
    assert claim.row is not None and claim.row["checks"][0]["code"] == code, "either way it is on record"


def test_memory_that_cannot_be_read_is_a_warning_and_no_obstacle(ledger: Ledger) -> None:
    session = Planted(ledger)
    session.tensors = MeasureError("planted")
    claim = confirmed(session)
    assert claim.holds and claim.row is not None and claim.row["tensors"] == {"baseline": None, "candidate": None}
    assert session.told.count("warning") == 2


def test_without_time_for_it_memory_is_not_measured(ledger: Ledger) -> None:
    session = Planted(ledger)
    session.left = 5.0
    claim = confirmed(session)
    assert claim.holds and claim.row is not None and claim.row["tensors"] == {}


@pytest.mark.parametrize("lost", [0, None])
def test_answers_that_are_plainly_wrong_claim_nothing_even_where_no_quality_is_claimed(lost: int | None, ledger: Ledger) -> None:
    """A stack less its lossy part was never tried, so nobody has looked at its answers before."""
    session = Planted(ledger, lost=lost)
    session.odd = "output 0 is 1.4 away"
    claim = confirmed(session)
    assert claim.problem == "wrong: output 0 is 1.4 away" and session.steps == []


@pytest.mark.parametrize("when", ["answering", "timed"])
def test_a_candidate_that_dies_has_lost_its_claim_and_the_run_goes_on(when: str, ledger: Ledger) -> None:
    session = Planted(ledger)
    session.dying = f"candidate {when}"
    claim = confirmed(session)
    assert not claim.holds and f"it failed to run: arm candidate died {when}" in claim.problem and claim.comparisons == {}
    session.dying = ""
    assert confirmed(session).problem == claim.problem, "it is on record"


@pytest.mark.parametrize("when", ["answering", "timed"])
def test_an_original_that_dies_is_not_held_against_the_candidate(when: str, ledger: Ledger) -> None:
    session = Planted(ledger)
    session.dying = f"baseline {when}"
    with pytest.raises(WorkerDiedError):
        confirmed(session)
    session.dying = ""
    assert confirmed(session).holds, "a later sitting measures it"
