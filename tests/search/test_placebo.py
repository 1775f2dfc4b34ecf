from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from strop.measure.confirm import FAR_ROUND
from strop.measure.result import Verdict
from strop.search import placebo
from strop.search.budget import CLOSING, Budget
from strop.search.placebo import doubt
from strop.search.request import Request
from strop.search.run import LEAST_ROUNDS
from tests.measure.test_judge import pair
from tests.search.conftest import compared


class Fresh:
    """A session whose fresh pairs of processes differ by planted amounts, one for each round."""

    def __init__(self, luck: list[float], left: float = 1000.0) -> None:
        self.luck, self.asked, self.told = luck, [], []  # type: ignore[var-annotated]
        self.request, self.baseline = Request(), SimpleNamespace()
        self.points = ("p0",)
        self.bench = self
        self.ledger = SimpleNamespace(step=lambda key, measure: measure(), done=lambda key: self.known)
        self.left, self.known, self.reserved, self.pair_seconds = left, False, 30.0, 1.0
        self.budget = Budget(self.left + CLOSING, lambda: 0.0)

    def confirm(self, name: str, baseline: Any, candidate: Any, plan: Any) -> list[Any]:
        assert baseline is candidate is self.baseline
        self.asked.append(plan)
        noise = np.random.default_rng(0)
        return [
            pair(number * plan.pairs + i, [luck + float(noise.normal(0, 0.005))], round=number)
            for number, luck in enumerate(self.luck[: plan.rounds])
            for i in range(plan.pairs)
        ]

    def original(self) -> Any:
        return SimpleNamespace(seconds=5.0)

    def tell(self, name: str, text: str, **_: Any) -> None:
        self.told.append(text)


@pytest.fixture(autouse=True)
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    from strop.measure.judge import judge_confirm

    def judge(ledger: Any, name: str, plan: Any, pairs: Any, points: Any) -> Any:
        return {"comparisons": {p: c.to_json() for p, c in judge_confirm(pairs, plan, points).items()}}

    monkeypatch.setattr(placebo, "record_judgement", judge)


@pytest.mark.parametrize("verdict", [Verdict.UNDECIDED, Verdict.NO_GAIN])
def test_a_placebo_that_does_not_differ_needs_no_second_look(verdict: Verdict) -> None:
    session: Any = Fresh([])
    assert doubt(session, compared(0.0, verdict)) is None
    assert session.asked == session.told == []


@pytest.mark.parametrize("verdict", [Verdict.FASTER, Verdict.SLOWER])
def test_luck_of_two_processes_is_reported_and_forbids_nothing(verdict: Verdict) -> None:
    session: Any = Fresh([0.3, -0.2, 0.1])
    found = doubt(session, compared(0.18, verdict))
    assert found is not None and found.code == "process-luck"
    assert "×1.20" in found.message and "3 fresh pairs" in found.message
    assert "fresh" in session.told[0]


@pytest.mark.parametrize(("shift", "word"), [(-0.3, "faster"), (0.3, "slower")])
def test_a_placebo_that_wins_on_fresh_processes_too_spoils_the_run(shift: float, word: str) -> None:
    session: Any = Fresh([shift, shift + 0.002, shift - 0.002])
    found = doubt(session, compared(-shift, Verdict.FASTER))
    assert found is not None and found.code == "placebo-kept"
    assert f"confirmed {word}" in found.message


NEEDED = LEAST_ROUNDS * (2 * 5.0 + FAR_ROUND)
"""Three rounds of two starts of 5 s and their pairs of 1 s."""


@pytest.mark.parametrize(("spare", "compared_fresh"), [(4 * NEEDED + 1, True), (4 * NEEDED - 1, False)])
def test_fresh_processes_are_compared_in_a_quarter_of_the_time_beside_the_reserve(spare: float, compared_fresh: bool) -> None:
    session: Any = Fresh([0.3, -0.2, 0.1], left=30.0 + spare)
    doubt(session, compared(0.18, Verdict.FASTER))
    assert bool(session.asked) == compared_fresh


def test_without_time_for_fresh_processes_the_difference_is_reported_as_open() -> None:
    session: Any = Fresh([0.3, 0.3, 0.3], left=50.0)
    found = doubt(session, compared(0.18, Verdict.FASTER))
    assert found is not None and found.code == "process-luck" and session.asked == []
    assert "too much of the budget" in found.message


def test_what_is_on_record_already_is_judged_without_any_time() -> None:
    session: Any = Fresh([0.3, 0.302, 0.298], left=50.0)
    session.known = True
    found = doubt(session, compared(0.18, Verdict.FASTER))
    assert found is not None and found.code == "placebo-kept"
