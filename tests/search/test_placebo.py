from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from strop.measure.result import Verdict
from strop.search import placebo
from strop.search.placebo import doubt
from strop.search.request import Request
from tests.measure.test_judge import pair
from tests.search.conftest import compared


class Fresh:
    """A session whose fresh pairs of processes differ by planted amounts, one for each round."""

    def __init__(self, luck: list[float]) -> None:
        self.luck, self.asked, self.told = luck, [], []  # type: ignore[var-annotated]
        self.request, self.baseline = Request(), SimpleNamespace()
        self.points = ("p0",)
        self.bench = self
        self.ledger = SimpleNamespace(step=lambda key, measure: measure())

    def confirm(self, name: str, baseline: Any, candidate: Any, plan: Any) -> list[Any]:
        assert baseline is candidate is self.baseline
        self.asked.append(plan)
        noise = np.random.default_rng(0)
        return [
            pair(number * plan.pairs + i, [luck + float(noise.normal(0, 0.005))], round=number)
            for number, luck in enumerate(self.luck[: plan.rounds])
            for i in range(plan.pairs)
        ]

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
