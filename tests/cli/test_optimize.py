"""``strop optimize``: one real run that is interrupted and resumed, and everything that must be refused in words."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strop.ledger.ledger import Ledger
from strop.report.model import RunReport

if TYPE_CHECKING:
    from tests.cli.conftest import Answer
    from tests.conftest import WholeRun

Cli = Callable[..., "Answer"]
Json = Callable[[str], Any]
Process = Callable[..., subprocess.CompletedProcess[str]]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, whatever its depth; the lock apart."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def trials(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The trials of one instruction, whatever its settings."""
    return [trial for trial in report["trials"] if trial["instructions"] == [name]]


def test_a_run_that_keeps_something_ends_with_0_and_one_json_value(whole_run: WholeRun, json_value: Json) -> None:
    assert whole_run.resumed.returncode == 0, whole_run.resumed.stdout[-500:] + whole_run.resumed.stderr
    report = json_value(whole_run.resumed.stdout)
    assert report == json_value((whole_run.folder / "report.json").read_text())
    assert report["outcome"]["exit_code"] == 0
    assert report["outcome"]["kept"] == ["47 model_serving_framework"]
    assert RunReport.from_json(report).to_json() == report


def test_nothing_but_json_is_said_when_json_is_asked_for(whole_run: WholeRun) -> None:
    assert whole_run.resumed.stdout.startswith("{")
    assert whole_run.resumed.stdout.endswith("}\n")
    assert whole_run.resumed.stderr == ""


def test_trials_that_crash_or_answer_wrongly_get_a_status_and_the_run_goes_on(whole_run: WholeRun, json_value: Json) -> None:
    report = json_value(whole_run.resumed.stdout)
    (crashed,), (wrong,) = trials(report, "segfault"), trials(report, "wrong")
    assert crashed["status"] == "failed to run"
    assert "SIGSEGV" in crashed["reason"]
    assert wrong["status"] == "wrong"
    assert "away from the original's" in wrong["reason"]
    assert wrong["screen"] == {}, "what answers wrongly is never timed"
    assert [trial["status"] for trial in trials(report, "model_serving_framework")].count("kept") == 1
    assert [t["recipe"] for t in report["trials"] if t["status"] == "failed to run"] == [crashed["recipe"]], "nothing else failed"


def test_an_interrupt_saves_the_best_so_far_and_ends_with_130(whole_run: WholeRun) -> None:
    done, report = whole_run.interrupted, whole_run.report_then
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert "report.html" in done.stdout
    assert report["outcome"]["exit_code"] == 130
    assert report["outcome"]["reason"] == "interrupted"
    assert len(report["trials"]) >= 1
    assert report["baseline"] != [], "what was measured is reported"


def test_an_interrupt_leaves_no_process_behind(whole_run: WholeRun) -> None:
    assert whole_run.left_behind == []


def test_resuming_repeats_no_finished_step(whole_run: WholeRun) -> None:
    assert len(whole_run.steps_then) > 2
    assert {name: whole_run.steps.get(name) for name in whole_run.steps_then} == whole_run.steps_then
    assert len(whole_run.steps) > len(whole_run.steps_then)


def test_a_person_reads_progress_on_standard_error_and_the_result_on_standard_output(whole_run: WholeRun) -> None:
    assert not any(line.startswith("preparing") for line in whole_run.interrupted.stdout.splitlines())
    assert "47 model_serving_framework" in whole_run.interrupted.stderr + whole_run.interrupted.stdout
    assert "How to check and repeat it" in whole_run.interrupted.stdout


def test_a_finished_directory_is_not_written_over(whole_run: WholeRun, strop_cli: Cli) -> None:
    before = snapshot(whole_run.folder)
    answer = strop_cli("optimize", whole_run.workload, "--out", whole_run.folder)
    assert answer.code == 2
    assert "already holds a run; continue it with --resume" in answer.err
    assert snapshot(whole_run.folder) == before


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (["--max-drop", "3%"], "request"),
        (["--seed", "77"], "request"),
        (["--strict"], "request"),
        (["--aim", "throughput"], "request"),
        (["--only", "38"], "request"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_resuming_with_other_arguments_is_refused(
    changed: list[str], what: str, whole_run: WholeRun, place: Path, strop_cli: Cli
) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    before = snapshot(folder)
    same = ["--only", "engine", "--max-drop", "2%", "--budget", "3m"]
    answer = strop_cli("optimize", whole_run.workload, *same, *changed, "--out", folder, "--resume")
    assert answer.code == 2
    assert f"was started with another {what}; resume it with the same arguments" in answer.err
    assert snapshot(folder) == before


def test_resuming_another_workload_is_refused(whole_run: WholeRun, zoo: Path, place: Path, strop_cli: Cli) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    answer = strop_cli("optimize", zoo, "--out", folder, "--resume")
    assert answer.code == 2
    assert "name, reference, request" in answer.err


def test_resuming_nothing_is_refused(place: Path, zoo: Path, strop_cli: Cli) -> None:
    answer = strop_cli("optimize", zoo, "--out", place / "nothing", "--resume")
    assert answer.code == 2
    assert "does not hold a run to resume; start it without --resume" in answer.err


def test_a_truncated_step_is_named_when_resuming(whole_run: WholeRun, place: Path, strop_cli: Cli) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    step = next((folder / "steps").glob("*placebo*"))
    step.write_bytes(step.read_bytes()[:-40])
    answer = strop_cli("optimize", whole_run.workload, "--out", folder, "--resume")
    assert answer.code == 1
    assert step.name in answer.err


def test_two_runs_cannot_share_a_directory_and_the_first_is_unharmed(tiny_workload: Path, place: Path, strop_cli: Cli) -> None:
    with Ledger.create(place / "run", {"command": "optimize"}) as first:
        first.step("one", lambda: 1)
        before = snapshot(first.folder)
        for more in ((), ("--resume",)):
            answer = strop_cli("optimize", tiny_workload, "--out", place / "run", *more)
            assert answer.code == 2
            assert "is being written by another run" in answer.err
        first.step("two", lambda: 2)
    after = snapshot(place / "run")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def test_files_of_somebody_else_are_left_alone(tiny_workload: Path, place: Path, strop_cli: Cli) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("mine")
    answer = strop_cli("optimize", tiny_workload, "--out", place / "mine")
    assert answer.code == 2
    assert "choose an empty or new --out" in answer.err
    assert snapshot(place / "mine") == {"thesis.tex": b"mine"}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--aim", "latncy", "aim 'latncy' cannot be asked for. Did you mean 'latency'?"),
        ("--aim", "quality", "Known: goodput, latency, throughput."),
        ("--budget", "4 minuets", "a duration was expected, for instance 90s, 4m or 1h; got '4 minuets'"),
        ("--budget", "-3m", "a duration was expected"),
        ("--budget", "0", "a duration was expected"),
        ("--max-drop", "one", "a quality budget was expected, for instance 1%"),
        ("--max-drop", "-1%", "a quality budget was expected"),
        ("--max-drop", "nan", "a quality budget was expected"),
        ("--only", "static_quantisation", "Did you mean 'static_quantization'?"),
        ("--only", "47,99", "there is no instruction 99"),
    ],
)
def test_a_typo_in_a_value_is_told_before_anything_is_written(
    option: str, value: str, message: str, tiny_workload: Path, place: Path, strop_cli: Cli
) -> None:
    answer = strop_cli("optimize", tiny_workload, "--out", place / "run", f"{option}={value}")
    assert answer.code == 2
    assert message in answer.err
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "zoo.py:not_a_workload",
            "gave a int; a strop.InferenceWorkload, strop.TrainingWorkload or strop.ServingWorkload was",
        ),
        ("zoo.py:raises", "raises() in"),
        ("zoo.py:raises", "failed: RuntimeError: planted in the function"),
        ("zoo.py:model_raises", "model() of the workload failed: ZeroDivisionError"),
        ("zoo.py:not_a_model", "gave a int; a torch.nn.Module was expected"),
        ("zoo.py:no_tensor", "the model's answer holds no tensor"),
        ("zoo.py:opaque", "is a object; tensors, numbers, strings"),
        ("zoo.py:misfit", "the model failed on an example input of 'too wide': RuntimeError"),
        ("zoo.py:mixed", "dtype and number of dimensions must stay the same"),
        ("zoo.py:words", "an example input is a str; give a tensor"),
        ("zoo.py:overlap", "is also input 0 of the calibration split"),
        ("zoo.py:peeking", "is also input 0 of the screening split"),
        ("zoo.py:empty", "the confirming split is empty"),
        ("zoo.py:unlabelled", "quality 'accuracy' needs labels, and the confirming split has none"),
        ("zoo.py:short", "a split has 2 inputs but 1 labels"),
        ("zoo.py:no_inputs", "each with at least one example input"),
        ("zoo.py:overlop", "has no 'overlop'. Did you mean 'overlap'?"),
        ("zo.py", "there is no workload file"),
        ("zo.py", "Did you mean 'zoo.py'?"),
        ("missing/folder.py", "there is no workload file"),
        ("words.txt", "is not a Python file"),
        ("broken.py", "broken.py failed while being imported: SyntaxError"),
        ("bare.py", "holds no workload; define a function workload()"),
        ("hf:no-such-model", "--task (none) is not known for hf: workloads"),
    ],
)
def test_a_workload_that_cannot_be_used_is_told_in_words(name: str, message: str, zoo: Path, place: Path, strop_cli: Cli) -> None:
    (zoo.parent / "words.txt").write_text("hello")
    (zoo.parent / "broken.py").write_text("def workload(:")
    (zoo.parent / "bare.py").write_text("x = 1")
    answer = strop_cli("optimize", name if name.startswith("hf:") else zoo.parent / name, "--out", place / "run", "--json")
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("command", ["optimize", "diagnose"])
def test_a_workload_that_leaves_the_process_is_no_success(command: str, zoo: Path, place: Path, strop_cli: Cli) -> None:
    out = ["--out", place / "run"] if command == "optimize" else []
    answer = strop_cli(command, f"{zoo}:leaves", *out)
    assert (answer.code, answer.out) == (2, "")
    assert "leaves() in" in answer.err


class Nothing:
    """A search that found nothing: whatever else the record wants to know of it is empty."""

    result = None

    def __getattr__(self, name: str) -> Any:
        return {"standing": Nothing(), "untried": {}}.get(name, ())


def test_a_disk_without_room_is_told_and_nothing_recorded_is_lost(
    tiny_workload: Path, place: Path, strop_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while the second step is written; after it was cleared, the run goes on behind the first."""
    full = [True]
    computed: list[str] = []
    fsync = os.fsync

    def search(session: Any) -> Any:
        session.ledger.step("first", lambda: computed.append("first"))
        if full:
            monkeypatch.setattr("strop.ledger.files.os.fsync", refuse)
        session.ledger.step("second", lambda: computed.append("second"))
        return Nothing()

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("strop.api.optimize.search", search)
    command = ["optimize", tiny_workload, "--out", place / "run"]
    answer = strop_cli(*command)
    assert answer.code == 1
    assert "no space left to write" in answer.err
    assert "continue with --resume" in answer.err
    steps = [path.name for path in (place / "run" / "steps").iterdir()]
    assert sorted(steps) == ["0000-workload.json", "0001-first.json"], "no half-written file stays"

    full.clear()
    monkeypatch.setattr("strop.ledger.files.os.fsync", fsync)
    assert strop_cli(*command, "--resume").code == 3
    assert computed == ["first", "second", "second"]
    assert strop_cli("verify", place / "run").code == 0


def test_a_file_that_cannot_be_written_whole_ends_the_run_in_words(
    tiny_workload: Path, place: Path, strop_process: Process
) -> None:
    """A limit of the size of files stands for a disk that fills up below any of the writers."""
    done = strop_process(
        ["optimize", tiny_workload, "--out", place / "run"],
        dict(os.environ),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr


@pytest.mark.slow
def test_a_finished_run_is_resumed_to_the_same_end(
    whole_run: WholeRun, place: Path, strop_process: Process, json_value: Json
) -> None:
    folder = shutil.copytree(whole_run.folder, place / "copy")
    arguments = [*whole_run.interrupted.args[:-1], folder, "--resume", "--json"]
    done = strop_process(arguments, whole_run.environment)
    assert done.returncode == 0
    assert json_value(done.stdout)["gate"] == json_value(whole_run.resumed.stdout)["gate"]
    assert {p.name: p.read_bytes() for p in (folder / "steps").iterdir()} == whole_run.steps


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["workload", "registered", "confirm"])
def test_an_interrupt_at_any_moment_can_be_resumed_and_then_holds(
    moment: str, tiny_workload: Path, place: Path, strop_process: Process
) -> None:
    import signal
    import time

    environment = {**os.environ, "STROP_CACHE": str(place / "cache")}
    arguments = ["optimize", tiny_workload, "--only", "engine", "--max-drop", "2%", "--budget", "3m", "--out", place / "run"]
    command = [sys.executable, "-m", "strop", *map(str, arguments)]
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while first.poll() is None and not list((place / "run" / "steps").glob(f"*{moment}*")):
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=120)[1]
    assert first.returncode in (130, 0), said
    steps = {p.name: p.read_bytes() for p in (place / "run" / "steps").iterdir()}
    assert strop_process([*arguments, "--resume"], environment).returncode in (0, 3)
    after = {p.name: p.read_bytes() for p in (place / "run" / "steps").iterdir()}
    assert {name: after[name] for name in steps} == steps
    assert strop_process(["verify", place / "run"], environment).returncode == 0


@pytest.mark.slow
def test_one_core_without_avx_512_is_enough(tiny_workload: Path, place: Path, json_value: Json) -> None:
    plain = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    command = ["taskset", "-c", "0", sys.executable, "-m", "strop", "optimize", str(tiny_workload), "--only", "engine"]
    done = subprocess.run(
        [*command, "--max-drop", "2%", "--budget", "4m", "--out", str(place / "run"), "--json"],
        env={**os.environ, **plain, "STROP_CACHE": str(place / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 3), done.stderr
    report = json_value(done.stdout)
    assert report["host"]["cores"] == 1
    tried = trials(report, "model_serving_framework")
    assert not {trial["status"] for trial in tried} & {"failed to prepare", "wrong"}


@pytest.mark.slow
def test_a_moody_model_is_found_and_a_budget_that_is_too_small_is_said(
    zoo: Path, place: Path, strop_cli: Cli, json_value: Json
) -> None:
    answer = strop_cli("optimize", f"{zoo}:moody", "--budget", "12s", "--out", place / "run", "--json")
    assert answer.code == 3
    findings = {finding["code"]: finding for finding in json_value(answer.out)["findings"]}
    assert "gave different answers to 3 of 3 inputs when called twice" in findings["non-deterministic"]["message"]
    assert "give a budget of" in findings["budget-too-small"]["advice"]
    assert strop_cli("verify", place / "run").code == 0


def test_strop_runs_from_the_folder_of_the_workload_itself(place: Path, workload_text: str, strop_cli: Cli) -> None:
    """Where some of torch's own modules seem to lie, since they name their files without a folder."""
    (place / "workload.py").write_text(workload_text)
    (place / "original.yaml").write_text("strop: 1")
    answer = strop_cli("apply", "original.yaml", "workload.py", "--out", "bundle")
    assert answer.code == 0, answer.err
