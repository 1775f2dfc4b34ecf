"""``strop.rerun``: the registered plan again, from nothing, with other coins."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import strop
from strop.api.assemble import assemble
from strop.api.rerun import Agreement, _free
from strop.errors import RunDirectoryError, UsageError, WorkloadError
from strop.ledger.files import read_json, write_json
from strop.ledger.judgement import read_comparisons
from strop.measure.confirm import rerun_interval
from strop.measure.result import Comparison, Interval, Verdict
from strop.search.bench import Bench
from strop.units import show_speedup

if TYPE_CHECKING:
    from tests.conftest import WholeRun


def claim(run: Path) -> dict[str, Any]:
    step: dict[str, Any] = read_json(next((run / "steps").glob("*confirm-*")))["result"]["confirm"]
    return step


@pytest.fixture
def then(whole_run: WholeRun) -> Comparison:
    """The recorded claim over all points."""
    return read_comparisons(claim(whole_run.folder))["all"]


def test_inside_means_that_the_new_estimate_lies_where_it_was_predicted(then: Comparison) -> None:
    expected = Interval(low=1.5, estimate=2.0, high=2.5, confidence=0.95)
    for estimate, inside in ((1.5, True), (2.5, True), (1.49, False), (2.51, False)):
        now = replace(then, speedup=Interval(low=1.0, estimate=estimate, high=3.0, confidence=0.95))
        assert Agreement(point="all", then=then, now=now, expected=expected).inside is inside


def test_the_same_verdict_is_the_same_word(then: Comparison) -> None:
    expected = rerun_interval(then, then.rounds)
    for verdict in Verdict:
        row = Agreement(point="all", then=then, now=replace(then, verdict=verdict), expected=expected)
        assert row.same_verdict is (verdict is then.verdict)


def test_the_report_says_what_a_rerun_should_give(whole_run: WholeRun, then: Comparison) -> None:
    expected = rerun_interval(then, then.rounds)
    (again,) = [c for c in assemble(whole_run.folder, 1.0).commands if c.line.startswith("strop rerun ")]
    assert again.what.endswith(show_speedup(expected.low, expected.estimate, expected.high))


@pytest.mark.parametrize("about", ["trains", "serves"])
def test_a_report_names_no_rerun_that_would_be_refused(about: str, whole_run: WholeRun, place: Path) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    write_json(folder / "plan.json", {**read_json(folder / "plan.json"), about: True})
    assert [c.line.split()[1] for c in assemble(folder, 1.0).commands] == ["verify"]
    with pytest.raises(UsageError, match="is about a"):
        strop.rerun(folder, out=place / "again")


def test_the_registered_plan_is_measured_again_with_other_coins_and_fresh_artefacts(
    whole_run: WholeRun, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded pairs are played back in place of new ones, so every verdict must come out as it was."""
    from strop.ledger.ledger import read_pairs

    registered = claim(whole_run.folder)
    asked: dict[str, Any] = {}

    def confirm(bench: Bench, name: str, baseline: Any, candidate: Any, plan: Any, *_: Any) -> Any:
        asked.update(name=name, plan=plan.to_json(), baseline=baseline, candidate=candidate, seed=bench._seed)
        return read_pairs(whole_run.folder / registered["samples"]["file"])

    monkeypatch.setattr(Bench, "confirm", confirm)
    rows = strop.rerun(whole_run.folder, out=place / "again")
    assert [row.point for row in rows] == ["batch 8", "all"] or {row.point for row in rows} == {"batch 8", "all"}
    assert all(row.same_verdict and row.inside and row.then == row.now for row in rows)
    assert asked["plan"] == registered["plan"]
    assert asked["seed"] == read_json(whole_run.folder / "plan.json")["request"]["seed"] + 1
    for prepared in (asked["baseline"], asked["candidate"]):
        assert prepared.folder.is_relative_to(place / "again"), "nothing comes from the cache"
    assert read_json(place / "again" / "plan.json")["of"] == whole_run.folder.name
    assert [check for check in strop.verify(place / "again") if check.problem] == []


def test_the_first_free_name_beside_the_run_is_taken(place: Path) -> None:
    assert _free(place / "run") == place / "run-rerun-1"
    (place / "run-rerun-1").mkdir()
    assert _free(place / "run") == place / "run-rerun-2"


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        ("live", WorkloadError, "was made from a live object"),
        ("nothing kept", UsageError, "kept nothing, so there is no claim"),
        ("no claim", UsageError, "holds no confirmed claim about its recipe"),
        ("no run", RunDirectoryError, r"does not hold a run: plan\.json is missing"),
        ("workload gone", WorkloadError, "there is no workload file"),
        ("workload changed", UsageError, "was changed since .* start a new run"),
        ("compared", UsageError, "was made by strop compare; only runs of strop optimize"),
    ],
)
def test_what_cannot_be_repeated_says_why(
    damage: str, error: type[Exception], message: str, whole_run: WholeRun, place: Path
) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    plan = read_json(folder / "plan.json")
    if damage == "live":
        write_json(folder / "plan.json", {**plan, "reference": None})
    elif damage == "nothing kept":
        (folder / "recipe.yaml").unlink()
    elif damage == "no claim":
        next((folder / "steps").glob("*confirm-*")).unlink()
    elif damage == "workload changed":
        source = Path(plan["reference"]["value"].partition(".py:")[0].removesuffix(".py") + ".py")
        changed = shutil.copytree(source.parent, place / "changed") / source.name
        changed.write_text(source.read_text() + "\n# another one\n")
        value = plan["reference"]["value"].replace(str(source), str(changed))
        write_json(folder / "plan.json", {**plan, "reference": {**plan["reference"], "value": value}})
    elif damage == "compared":
        write_json(folder / "plan.json", {"format": plan["format"], "command": "compare"})
    elif damage == "no run":
        (folder / "plan.json").unlink()
    else:
        reference = {**plan["reference"], "value": str(place / "gone.py")}
        write_json(folder / "plan.json", {**plan, "reference": reference})
    with pytest.raises(error, match=message):
        strop.rerun(folder, out=place / "again")


def test_a_rerun_does_not_write_over_anything(whole_run: WholeRun, place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="choose an empty or new --out"):
        strop.rerun(whole_run.folder, out=place / "mine")
    assert [path.name for path in (place / "mine").iterdir() if path.name != ".lock"] == ["thesis.tex"]


@pytest.mark.slow
def test_a_claim_is_measured_again_by_real_processes(whole_run: WholeRun, place: Path) -> None:
    rows = {row.point: row for row in strop.rerun(whole_run.folder, out=place / "again")}
    assert set(rows) == {"batch 8", "all"}
    assert rows["all"].now.rounds == rows["all"].then.rounds
    assert rows["all"].now.pairs > 0
    assert rows["all"].now.verdict is not Verdict.SLOWER
