"""The report is filled from the ledger alone: whatever the moment a run stopped, there is a report of what it knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from strop.api.assemble import _accelerator, assemble
from strop.api.record import Record
from strop.errors import LedgerError
from strop.ledger.files import read_json, write_json
from strop.measure.quality import QualityResult, judge_scores
from strop.measure.ratios import log_ratios
from strop.measure.result import Comparison
from strop.report.html import render_html
from strop.report.text import render_summary

if TYPE_CHECKING:
    from tests.conftest import WholeRun


def cut(run: Path, place: Path, steps: int) -> Path:
    """A copy of a run that stopped after so many steps."""
    folder = shutil.copytree(run, place / f"cut-{steps}")
    for path in sorted((folder / "steps").iterdir())[steps:]:
        path.unlink()
    return folder


@pytest.fixture
def record(whole_run: WholeRun) -> Record:
    """The whole run, read."""
    return Record.read(whole_run.folder)


def test_the_ledger_alone_gives_the_report_that_was_written(whole_run: WholeRun) -> None:
    written = read_json(whole_run.folder / "report.json")
    again = assemble(whole_run.folder, written["budget"]["spent"])
    assert again.to_json() == written


def test_a_run_cut_after_any_step_is_reported_as_interrupted(whole_run: WholeRun, place: Path) -> None:
    count = len(whole_run.steps)
    assert count > 8
    trials: list[int] = []
    for steps in range(count):
        folder = cut(whole_run.folder, place, steps)
        report = assemble(folder, 10.0)
        assert report.outcome.exit_code == 130, f"after {steps} steps"
        assert report.outcome.kept == ()
        assert "interrupted" in render_summary(report)
        assert "</html>" in render_html(report)
        trials.append(len(report.trials))
        shutil.rmtree(folder)
    assert trials == sorted(trials)
    assert trials[0] == 0
    assert trials[-1] >= 4


@pytest.mark.parametrize("missing", ["host.json", "env.json", "materials"])
def test_a_run_that_stopped_before_the_machine_was_read_is_reported(missing: str, whole_run: WholeRun, place: Path) -> None:
    folder = cut(whole_run.folder, place, 0)
    (shutil.rmtree if (folder / missing).is_dir() else Path.unlink)(folder / missing)
    assert "</html>" in render_html(assemble(folder, 1.0))


def test_a_damaged_step_is_named_instead_of_reported(whole_run: WholeRun, place: Path) -> None:
    folder = cut(whole_run.folder, place, 5)
    path = sorted((folder / "steps").iterdir())[2]
    path.write_text("{")
    with pytest.raises(LedgerError, match=path.name):
        assemble(folder, 1.0)


def test_the_confirmed_row_is_the_one_of_the_result(record: Record) -> None:
    end = record.result("end")
    assert record.confirmed == record.result(f"confirm/{end['result']}")
    assert record.result("no such step") is None
    assert record.under("no such step") == []


def test_numbers_are_those_of_the_confirmation(whole_run: WholeRun, record: Record) -> None:
    report = assemble(whole_run.folder, 60.0)
    confirmed: Any = record.confirmed
    gate = {c.point: c for c in report.gate.comparisons}  # type: ignore[union-attr]
    recorded = confirmed["confirm"]["comparisons"]
    assert gate == {point: Comparison.from_json(row) for point, row in recorded.items()}
    judged = QualityResult.from_json(record.result(f"quality/{record.claimed}")["result"])
    (row,) = report.quality
    assert (row.baseline, row.result, row.examples, row.margin) == (judged.baseline, judged.candidate, judged.n, judged.margin)
    (samples,) = report.samples
    assert samples.point == "batch 8"
    from strop.ledger.ledger import read_pairs

    pairs = read_pairs(whole_run.folder / confirmed["confirm"]["samples"]["file"])
    assert list(samples.log_ratios) == [-y for y in log_ratios(pairs, "batch 8", "latency")]
    peaks = sorted(start["candidate"]["peak"] for start in confirmed["starts"])
    assert report.footprint_after.process_peak == peaks[len(peaks) // 2]
    assert report.footprint_before.disk == confirmed["disk"]["baseline"]


def test_only_the_result_is_called_kept(whole_run: WholeRun, record: Record) -> None:
    kept = [trial for trial in assemble(whole_run.folder, 60.0).trials if trial.status == "kept"]
    assert [trial.id for trial in kept] == [record.result("end")["result"]]


@pytest.mark.parametrize(
    ("place_in_plan", "lost", "status", "reason"),
    [
        (0, 400, "worse quality", "claimed, and refuted: worse quality: accuracy"),
        (1, None, "faster", "not claimed: its claim would hold with a chance of 31 %, and one before it did"),
    ],
    ids=["fell before the result", "stood behind the result"],
)
def test_a_faster_recipe_that_was_not_kept_says_why(
    place_in_plan: int, lost: int | None, status: str, reason: str, whole_run: WholeRun, record: Record, place: Path
) -> None:
    folder, result = shutil.copytree(whole_run.folder, place / "copy"), record.result("end")["result"]
    trial = next(row for row in record.under("trial") if row["key"] != result and row["screen"])
    claims = [{"recipe": result, "alpha": 0.02, "chance": 0.9}]
    claims.insert(place_in_plan, {"recipe": trial["key"], "alpha": 0.03, "chance": 0.31})
    steps = {read_json(path)["key"]: path for path in (folder / "steps").iterdir()}
    write_json(steps["registered/claims"], {**read_json(steps["registered/claims"]), "result": claims})
    screened = steps[f"trial/{trial['against']}/{trial['key']}"]
    write_json(screened, {**read_json(screened), "result": {**trial, "status": "faster"}})
    if lost is not None:
        answers = np.ones(2000), np.where(np.arange(2000) < lost, 0.0, 1.0)
        refuted = {"result": judge_scores(*answers, metric="accuracy", margin=0.01, alpha=0.03).to_json()}
        fallen = {**read_json(screened), "key": f"quality/{trial['key']}", "result": refuted}
        write_json(folder / "steps" / f"9998-quality-{trial['key']}.json", fallen)
    told = {row.id: row for row in assemble(folder, 1.0).trials}
    assert told[result].status == "kept"
    assert told[trial["key"]].status == status and told[trial["key"]].reason.startswith(reason)


def test_a_speed_only_run_makes_no_quality_claim(whole_run: WholeRun, place: Path) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    for path in (folder / "steps").iterdir():
        step = read_json(path)
        if step["key"] == "workload":
            step["result"]["unjudged"] = "random weights"
        if step["key"].startswith("quality/"):
            step["result"] = None
        write_json(path, step)
    (row,) = assemble(folder, 1.0).quality
    assert (row.guard, row.note) == ("not measured", "speed only, no quality claim: random weights")


def test_the_self_test_of_the_machine_is_quoted(whole_run: WholeRun, place: Path) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    host = read_json(folder / "host.json")
    host["selftest"] = {"false_faster": 1, "trials": 200, "false_rate": [0.0, 0.0275]}
    write_json(folder / "host.json", host)
    assert "1 of 200 trials misjudged equal arms (rate below 2.8 %)" in assemble(folder, 1.0).self_test
    assert assemble(whole_run.folder, 1.0).self_test == ""


def test_accelerators_that_a_run_found_are_in_its_report(whole_run: WholeRun, place: Path) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    host = read_json(folder / "host.json")
    assert host["accelerators"] == []
    write_json(folder / "host.json", {**host, "accelerators": ["a card"]})
    assert assemble(folder, 1.0).host.accelerators == ("a card",)
    del host["accelerators"]  # as runs of former versions wrote it
    write_json(folder / "host.json", host)
    assert assemble(folder, 1.0).host.accelerators == ()


def test_the_accelerator_that_answered_is_named(place: Path) -> None:
    write_json(place / "host.json", {"accelerators": ["one card", "another card"]})
    record: Any = SimpleNamespace(folder=place)
    named = [_accelerator(record, device) for device in ("cpu", "cuda", "cuda:1")]
    assert named == ["", ", on one card (cuda)", ", on another card (cuda:1)"]
