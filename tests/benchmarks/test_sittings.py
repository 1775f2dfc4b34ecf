"""The spread between sittings: what was put in is found, and what the rounds explain is not counted twice."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.sittings import show, sittings, spread
from strop.ledger.files import read_json, write_json
from strop.measure.result import Comparison, Interval, Verdict

if TYPE_CHECKING:
    from tests.conftest import WholeRun


def sitting(theta: float, s: float = 0.04, rounds: int = 5) -> Comparison:
    speedup = Interval(low=1.0, estimate=math.exp(-theta), high=9.0, confidence=0.95)
    return Comparison(
        point="all", phase="confirm", verdict=Verdict.FASTER, speedup=speedup, pairs=20, rounds=rounds, alpha=0.05, delta=0.02,
        evidence={"theta": theta, "s": s},
    )  # fmt: skip


@pytest.mark.parametrize("between", [0.0, 0.05])
def test_the_spread_that_was_put_in_is_found(between: float) -> None:
    generator = np.random.default_rng(3)
    means = -2 + generator.normal(0, between, 4000) + generator.normal(0, 0.04 / math.sqrt(5), 4000)
    theta, found = spread([sitting(mean) for mean in means])
    assert theta == pytest.approx(-2, abs=0.01)
    assert found == pytest.approx(between**2, abs=2e-4)


def test_a_sitting_far_off_is_counted_as_not_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    show({"steady": [sitting(-2.0), sitting(-2.01)], "moved": [sitting(-2.0), sitting(-1.0)]})
    told = capsys.readouterr().out
    assert "100%" in told and " 0%" in told
    assert "50.0% of 4" in told


def test_a_run_is_read_together_with_its_reruns(whole_run: WholeRun, place: Path) -> None:
    """A rerun keeps the judgement itself where a run keeps it beside footprint and cold start."""
    run = shutil.copytree(whole_run.folder, place / "run")
    again = shutil.copytree(whole_run.folder, place / "run-rerun-1")
    path = next((again / "steps").glob("*confirm-*"))
    step = read_json(path)
    write_json(path, {**step, "result": step["result"]["confirm"]})
    found = sittings(run)
    assert found.keys() == {"batch 8"}, "one point: all says the same"
    assert len(found["batch 8"]) == 2
