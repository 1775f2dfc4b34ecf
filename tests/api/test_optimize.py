"""``strop.optimize``: what is asked, what is on disk when it ends, and how an interrupt at any moment is survived.

The search itself is replaced by steps of the test's own, so that each moment can be reached without measuring.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import strop
from strop.api.assemble import assemble
from strop.api.optimize import _name
from strop.errors import MeasureError, PrepareError, RecipeError, RunDirectoryError, StropError, UsageError, WorkloadError
from strop.ledger.files import read_json
from strop.measure.quality import Guard, judge_agreement
from strop.measure.result import Finding
from strop.observe import Event

if TYPE_CHECKING:
    from tests.conftest import WholeRun

Stub = Callable[..., None]


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Replaces the search."""

    def replace(search: Callable[[Any], Any]) -> None:
        monkeypatch.setattr("strop.api.optimize.search", search)

    return replace


class Nothing:
    """A search that found nothing: whatever else the record wants to know of it is empty."""

    result = None

    def __init__(self, findings: Sequence[Finding] = ()) -> None:
        self.findings = findings

    def __getattr__(self, name: str) -> Any:
        return {"standing": Nothing(), "untried": {}}.get(name, ())


def nothing(session: Any, findings: Sequence[Finding] = ()) -> Any:
    return Nothing(findings)


def live() -> strop.InferenceWorkload:
    net = torch.nn.Linear(4, 2)
    rows = [torch.randn(1, 4) for _ in range(12)]
    return strop.InferenceWorkload(
        model=lambda: net,
        inputs={"one": rows[:2]},
        screening=strop.Split(inputs=rows[2:6]),
        confirming=strop.Split(inputs=rows[6:]),
        name="a live 网络",
    )


def test_nothing_paid_is_an_ordinary_answer_with_everything_on_disk(tiny_workload: Path, searching: Stub) -> None:
    searching(nothing)
    result = strop.optimize(tiny_workload, out="run", budget="90s")
    assert result.exit_code == 3
    assert result.report.outcome.reason == "no recipe was found to be faster and as good"
    assert (result.bundle, len(result.recipe), result.comparisons) == (None, 0, {})
    names = {path.name for path in Path("run").iterdir()}
    assert names >= {"plan.json", "env.json", "host.json", "report.json", "report.html", "digests.json", "steps"}
    assert not {"bundle", "recipe.yaml"} & names
    assert [command.line.split()[1] for command in result.report.commands] == ["verify"], "there is no claim to rerun"
    assert [check for check in strop.verify("run") if check.problem] == []
    assert "deep" in (Path("run") / "report.html").read_text(encoding="utf-8")


def test_a_budget_that_is_too_small_is_the_reason_that_is_given(tiny_workload: Path, searching: Stub) -> None:
    finding = Finding(code="budget-too-small", message="confirming takes about 60 s here", advice="give a budget of 3m or more")
    searching(lambda session: nothing(session, findings=[finding]))
    result = strop.optimize(tiny_workload, out="run")
    assert result.report.outcome.reason == "confirming takes about 60 s here; give a budget of 3m or more"
    assert finding in result.report.findings


def test_what_was_asked_is_written_down_before_anything_runs(tiny_workload: Path, searching: Stub) -> None:
    seen: list[dict[str, Any]] = []

    def look(session: Any) -> Any:
        seen.append(read_json(session.ledger.folder / "plan.json"))
        return nothing(session)

    searching(look)
    strop.optimize(
        tiny_workload,
        aim="throughput",
        max_drop="2pt",
        budget=77,
        only=[29, "engine"],
        strict=True,
        exact=True,
        seed=5,
        out="run",
    )
    (plan,) = seen
    request = plan["request"]
    assert (request["aim"], request["budget"], request["only"], request["seed"]) == ("throughput", 77.0, [29, 47], 5)
    assert (request["alpha"], request["exact"], request["max_drop"]) == (0.01, True, {"value": 0.02, "relative": False})
    assert (plan["command"], plan["name"], plan["reference"]["kind"]) == ("optimize", tiny_workload.stem, "file")


@pytest.mark.parametrize(
    ("workload", "name"),
    [
        ("model/workload.py", "model"),
        ("workload.py", "workload"),
        ("a b/resnet.py", "resnet"),
        ("resnet.py:small", "resnet"),
        (Path("resnet.py"), "resnet"),
        ("hf:owner/model", "model"),
        ("hf:folder/", "folder"),
    ],
)
def test_a_run_is_named_after_its_workload(workload: str | Path, name: str) -> None:
    assert _name(workload) == name


def test_the_example_of_the_guide_holds_enough_data_to_confirm_an_unchanged_answer() -> None:
    """299 examples show a loss below 1 % when no answer changes; fewer would end every run of it with "nothing paid"."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "InferenceWorkload" in block), names)
    count = len(names["workload"].confirming.inputs)
    assert judge_agreement(0, count, margin=0.01, metric="agreement").guard is Guard.HELD


def test_a_live_object_is_run_but_cannot_be_repeated(searching: Stub) -> None:
    searching(nothing)
    result = strop.optimize(live())
    assert result.folder == Path("runs") / "a live 网络"
    assert read_json(result.folder / "plan.json")["reference"] is None
    assert [command.line.split()[1] for command in result.report.commands] == ["verify"]


MOMENTS = ["before the workload", "before the first step", "after a step", "inside a step", "while the end is written"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_at_any_moment_is_reported_and_resumed_without_repeating(
    moment: str, tiny_workload: Path, searching: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    pending = [True]

    def interrupt(at: str) -> None:
        if at == moment and pending:
            pending.clear()
            raise KeyboardInterrupt

    def step(name: str) -> str:
        interrupt("inside a step" if name == "two" else "")
        done.append(name)
        return name

    def search(session: Any) -> Any:
        interrupt("before the first step")
        session.ledger.step("one", lambda: step("one"))
        interrupt("after a step")
        session.ledger.step("two", lambda: step("two"))
        return nothing(session)

    import strop.api.optimize as module

    materials, end = __import__("strop.api.run", fromlist=["_materials"])._materials, module._end

    def read(*arguments: Any) -> Any:
        interrupt("before the workload")
        return materials(*arguments)

    def finish(*arguments: Any) -> Any:
        interrupt("while the end is written")
        return end(*arguments)

    monkeypatch.setattr("strop.api.run._materials", read)
    monkeypatch.setattr("strop.api.optimize._end", finish)
    searching(search)
    first = strop.optimize(tiny_workload, out="run")
    assert first.exit_code == 130
    assert first.report.outcome.reason == "interrupted"
    assert (Path("run") / "report.html").exists()
    steps = {path.name: path.read_bytes() for path in Path("run", "steps").glob("*")}
    assert not Path("run", "digests.json").exists(), "an unfinished run is not sealed"

    second = strop.optimize(tiny_workload, out="run", resume=True)
    assert second.exit_code == 3
    assert done == ["one", "two"], "what was finished is not done again"
    after = {path.name: path.read_bytes() for path in Path("run", "steps").glob("*")}
    assert {name: after[name] for name in steps} == steps
    assert [check for check in strop.verify("run") if check.problem] == []


def test_a_finished_run_is_resumed_by_its_report_alone(tiny_workload: Path, searching: Stub) -> None:
    searching(nothing)
    first = strop.optimize(tiny_workload, out="run")
    (Path("run") / "report.html").unlink()
    searching(lambda session: pytest.fail("there is nothing left to search for"))
    again = strop.optimize(tiny_workload, out="run", resume=True)
    assert again.exit_code == first.exit_code == 3 and (Path("run") / "report.html").exists()
    assert again.report.budget.spent < first.report.budget.spent + 1.0, "it is not charged for being looked at"


def test_a_workload_that_was_edited_is_not_mixed_into_the_same_run(place: Path, workload_text: str, searching: Stub) -> None:
    file = place / "files" / "here" / "edited.py"
    file.parent.mkdir(parents=True)
    file.write_text(workload_text)

    def interrupt(session: Any) -> Any:
        raise KeyboardInterrupt

    searching(interrupt)
    assert strop.optimize(file, out="run").exit_code == 130
    steps = {path.name: path.read_bytes() for path in Path("run", "steps").iterdir()}
    file.write_text(workload_text.replace("manual_seed(0)", "manual_seed(1)"))
    with pytest.raises(UsageError, match="changed"):
        strop.optimize(file, out="run", resume=True)
    assert {path.name: path.read_bytes() for path in Path("run", "steps").iterdir()} == steps
    file.write_text(workload_text)
    searching(nothing)
    assert strop.optimize(file, out="run", resume=True).exit_code == 3


@pytest.mark.parametrize("resume", [False, True], ids=["started again", "resumed"])
def test_a_run_whose_workload_could_not_be_used_is_no_obstacle_once_it_was_mended(
    resume: bool, place: Path, workload_text: str, searching: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data were on disk already; nothing of them may be left in the run that follows."""
    file = place / "files" / "mended" / "load.py"
    file.parent.mkdir(parents=True)
    file.write_text(workload_text.replace('"batch 8"', '"misnamed"'))

    def fail(*arguments: Any) -> Any:
        raise PrepareError("planted")

    with monkeypatch.context() as patch:
        patch.setattr("strop.trial.workshop.Workshop.prepare_original", fail)
        with pytest.raises(PrepareError, match="planted"):
            strop.optimize(file, out="run")
    assert read_json(Path("run", "materials", "materials.json"))["points"] == ["misnamed"]

    file.write_text(workload_text)
    points: list[tuple[str, ...]] = []
    searching(lambda session: (points.append(session.materials.points), nothing(session))[1])
    assert strop.optimize(file, out="run", resume=resume).exit_code == 3
    assert points == [("batch 8",)]


def test_an_interrupt_is_told_to_whoever_watches(tiny_workload: Path, searching: Stub) -> None:
    def interrupt(session: Any) -> Any:
        raise KeyboardInterrupt

    searching(interrupt)
    events: list[Event] = []
    strop.optimize(tiny_workload, out="run", observer=events.append)
    names = [event.name for event in events]
    assert names[0] == "run.started"
    assert names[-2:] == ["run.interrupted", "run.finished"]
    assert events[-1].data["exit_code"] == 130
    assert "--resume" in events[-2].text


def test_an_error_leaves_the_finished_steps_and_the_lock_is_free(tiny_workload: Path, searching: Stub) -> None:
    def fail(session: Any) -> Any:
        session.ledger.step("one", lambda: 1)
        raise MeasureError("planted")

    searching(fail)
    with pytest.raises(MeasureError, match="planted"):
        strop.optimize(tiny_workload, out="run")
    assert [path.name for path in sorted(Path("run", "steps").iterdir())] == ["0000-workload.json", "0001-one.json"]
    searching(nothing)
    assert strop.optimize(tiny_workload, out="run", resume=True).exit_code == 3


@pytest.mark.parametrize("write", range(1, 7))
def test_a_disk_that_fills_up_at_any_write_loses_nothing_that_was_recorded(
    write: int, tiny_workload: Path, searching: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, count = os.fsync, [0]

    def sometimes(descriptor: int) -> None:
        count[0] += 1
        if count[0] >= write:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    searching(lambda session: (session.ledger.step("one", lambda: 1), nothing(session))[1])
    monkeypatch.setattr("strop.ledger.files.os.fsync", sometimes)
    with pytest.raises(StropError, match="no space left to write"):
        strop.optimize(tiny_workload, out="run")
    kept = {path: path.read_bytes() for path in Path("run").rglob("*.json")}
    assert [path for path in Path("run").rglob("*partial*") if path.is_file()] == []

    monkeypatch.setattr("strop.ledger.files.os.fsync", fsync)
    resumed = strop.optimize(tiny_workload, out="run", resume=Path("run", "plan.json").exists())
    assert resumed.exit_code == 3
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"aim": "latency "}, UsageError, "Did you mean 'latency'"),
        ({"aim": "memory"}, UsageError, "cannot be asked for"),
        ({"budget": "4 minutes"}, UsageError, "a duration was expected"),
        ({"budget": -5}, UsageError, "a budget must be a positive number of seconds"),
        ({"budget": float("nan")}, UsageError, "a budget must be a positive number of seconds"),
        ({"max_drop": "1 percent"}, UsageError, "a quality budget was expected"),
        ({"only": ["model_serving_framwork"]}, RecipeError, "Did you mean 'model_serving_framework'"),
        ({"only": [99]}, RecipeError, "there is no instruction 99"),
        ({"only": ["data_profile"]}, RecipeError, "01 data_profile is planned, not built"),
        ({"only": " , "}, UsageError, "no instruction to try is named"),
        ({"only": "8, 13"}, UsageError, "08 lr_scheduler needs training workload.*; 13 numeric_stability_monitor needs"),
        ({"only": 29}, UsageError, "29 static_quantization needs an engine that runs calibrated int8"),
        ({"only": "dashboard"}, UsageError, "51 performance_dashboard changes no model"),
        ({"resume": True}, RunDirectoryError, "does not hold a run to resume"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    settings: dict[str, Any], error: type[Exception], message: str, tiny_workload: Path
) -> None:
    with pytest.raises(error, match=message):
        strop.optimize(tiny_workload, out="run", **settings)
    assert not Path("run").exists()


@pytest.mark.parametrize("value", [42, None, torch.nn.Linear(1, 1)], ids=["a number", "nothing", "a bare model"])
def test_what_is_no_workload_is_refused(value: Any) -> None:
    with pytest.raises(
        WorkloadError,
        match=r"hf:FOLDER-OR-ID, a strop\.InferenceWorkload, a strop\.TrainingWorkload or a strop\.ServingWorkload; got a",
    ):
        strop.optimize(value, out="run")


def test_the_report_of_a_real_run_is_the_same_on_disk_and_in_hand(whole_run: WholeRun) -> None:
    written = read_json(whole_run.folder / "report.json")
    report = assemble(whole_run.folder, written["budget"]["spent"])
    assert report.to_json() == written
    assert report.outcome.exit_code == 0
    assert report.budget.limit == 180.0
    assert report.subject.name == whole_run.workload.stem
    assert report.recipe_yaml == (whole_run.folder / "recipe.yaml").read_text()
    assert report.quality[0].metric == "accuracy"
    assert report.quality[0].baseline == pytest.approx(0.9)
    assert report.quality[0].guard == "held"
    page = (whole_run.folder / "report.html").read_text(encoding="utf-8")
    assert "model_serving_framework" in page
    assert "<script" not in page


def test_a_device_that_is_not_here_is_refused_before_any_work(place: Path) -> None:
    workload = dataclasses.replace(live(), device="cuda:97")
    with pytest.raises(WorkloadError, match="cuda:97 is asked for, and torch finds"):
        strop.optimize(workload, out=place / "run")
    assert not (place / "run").exists()
