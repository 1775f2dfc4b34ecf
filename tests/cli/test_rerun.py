"""``strop rerun``: then and now side by side; a verdict that changed is exit code 1."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strop.api.rerun import Agreement
from strop.ledger.files import read_json, write_json
from strop.measure.confirm import rerun_interval
from strop.measure.result import Comparison, Interval, Verdict

if TYPE_CHECKING:
    from tests.cli.conftest import Answer
    from tests.conftest import WholeRun

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]


@pytest.fixture
def then() -> Comparison:
    """A claim that was confirmed."""
    return Comparison(
        point="all",
        phase="confirm",
        verdict=Verdict.FASTER,
        speedup=Interval(low=1.9, estimate=2.0, high=2.1, confidence=0.95),
        pairs=40,
        rounds=5,
        alpha=0.05,
        delta=0.02,
        evidence={"theta": -0.693, "s": 0.02},
    )


def agreement(then: Comparison, **changes: Any) -> Agreement:
    return Agreement(point="all", then=then, now=replace(then, **changes), expected=rerun_interval(then, then.rounds))


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.FASTER, 0), (Verdict.UNDECIDED, 1), (Verdict.SLOWER, 1)])
def test_a_changed_verdict_is_exit_code_1(
    verdict: Verdict, code: int, then: Comparison, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch, json_value: Json
) -> None:
    rows = (agreement(then), agreement(then, verdict=verdict))
    monkeypatch.setattr("strop.api.rerun.rerun", lambda run, **_: rows)
    answer = strop_cli("rerun", "any")
    assert answer.code == code
    assert answer.out.splitlines()[1].startswith(f"all: {verdict} (then faster)  ×")
    answer = strop_cli("rerun", "any", "--json")
    assert answer.code == code
    said = json_value(answer.out)
    assert [row["same_verdict"] for row in said] == [True, verdict is Verdict.FASTER]
    assert Comparison.from_json(said[1]["now"]) == rows[1].now


@pytest.mark.parametrize(("factor", "word"), [(1.0, ", inside the predicted"), (3.0, ", OUTSIDE the predicted")])
def test_an_estimate_outside_of_what_was_predicted_is_said_aloud(
    factor: float, word: str, then: Comparison, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = then.speedup
    moved = Interval(low=factor * s.low, estimate=factor * s.estimate, high=factor * s.high, confidence=s.confidence)
    monkeypatch.setattr("strop.api.rerun.rerun", lambda run, **_: (agreement(then, speedup=moved),))
    assert word in strop_cli("rerun", "any").out


def test_a_run_that_kept_nothing_has_nothing_to_measure_again(whole_run: WholeRun, place: Path, strop_cli: Cli) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    (folder / "recipe.yaml").unlink()
    answer = strop_cli("rerun", folder)
    assert answer.code == 2
    assert "kept nothing, so there is no claim to measure again" in answer.err


def test_a_run_of_a_live_object_cannot_be_repeated(whole_run: WholeRun, place: Path, strop_cli: Cli) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    write_json(folder / "plan.json", {**read_json(folder / "plan.json"), "reference": None})
    answer = strop_cli("rerun", folder)
    assert answer.code == 2
    assert "was made from a live object" in answer.err


def test_a_folder_without_a_run_is_refused(place: Path, strop_cli: Cli) -> None:
    for folder in (place, ".", "nothing"):
        answer = strop_cli("rerun", folder)
        assert answer.code == 2
        assert "does not hold a run: plan.json is missing" in answer.err
