"""``optimize`` of a training workload, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import strop
from strop.errors import UsageError, WorkloadError

Process = Callable[..., subprocess.CompletedProcess[str]]


def environment(place: Path, python_path: str = "") -> dict[str, str]:
    added = {"STROP_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **added, **({"PYTHONPATH": python_path} if python_path else {})}


def test_a_budget_too_small_is_told_with_the_one_that_would_do(training_file: Path, tmp_path: Path) -> None:
    result = strop.optimize(training_file, aim="throughput", budget=12, out=tmp_path / "run")
    assert result.exit_code == 3 and not result.report.trials and not result.recipe
    assert "5 whole trainings of each arm included" in result.report.outcome.reason
    assert "give a budget of" in result.report.outcome.reason
    assert (tmp_path / "run" / "report.html").exists()


def test_a_live_training_reaches_its_processes(tmp_path: Path) -> None:
    from strop.testing.models import sentences_workload

    result = strop.optimize(sentences_workload(name="live one"), aim="throughput", budget=12, out=tmp_path / "run")
    assert result.exit_code == 3 and "give a budget of" in result.report.outcome.reason
    assert result.report.subject.reference is None


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        ("workload", {"aim": "latency"}, "aim 'latency' cannot be asked of a strop.TrainingWorkload; ask for throughput"),
        ("workload", {"aim": "throughput", "exact": True}, "needs more rounds than are measured of a training"),
        ("raises", {"aim": "throughput"}, "has no 'raises'"),
    ],
)
def test_what_cannot_be_asked_leaves_no_run_behind(
    function: str, settings: dict[str, object], words: str, training_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        strop.optimize(f"{training_file}:{function}", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_workload_that_does_not_hold_together_is_refused_before_any_process(training_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="before any training"):
        strop.optimize(f"{training_file}:broken", aim="throughput", out=tmp_path / "run")
    assert not list((tmp_path / "run").glob("logs/*"))


@pytest.mark.slow
def test_a_real_run_keeps_what_pays_and_strop_train_takes_its_recipe(
    training_file: Path, training_plugin: Path, python_path: Callable[[Path], str], strop_process: Process, tmp_path: Path
) -> None:
    run, setting = tmp_path / "run", environment(tmp_path, python_path(training_plugin))
    asked = "quick,raiser,leaver,idle,picky,greedy"
    arguments = ["optimize", training_file, "--aim", "throughput", "--budget", "8m", "--only", asked, "--out", run, "--json"]
    answer = strop_process(arguments, setting)
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report["outcome"]["kept"] == ["90 quick"]
    said = {trial["recipe"].partition(" (")[0].split(" + ")[-1]: (trial["status"], trial["reason"]) for trial in report["trials"]}
    assert said["93 raiser"] == ("failed to run", "ValueError: planted in the loss")
    assert said["94 leaver"][0] == "failed to run" and "exit code 7" in said["94 leaver"][1]
    assert said["95 idle"] == ("no effect", "idle changed nothing in this model")
    assert said["96 picky"] == ("declined", "picky: planted: it fits nobody")
    assert said["97 greedy"][0] == "failed to run" and "memory" in said["97 greedy"][1]
    (quality,) = report["quality"]
    assert quality["guard"] == "held" and quality["examples"] == 5 and quality["difference"]["estimate"] == 0
    timed = report["time_to_target"]  # it trains as before, only quicker
    assert timed["what"] == "the plain training's last loss" and len(timed["seeds"]) == 5 and timed["sooner"]["estimate"] > 1
    assert all(row["result_steps"] == row["baseline_steps"] for row in timed["seeds"])
    (whole,) = [c for c in report["gate"]["comparisons"] if c["point"] == "all"]
    assert whole["speedup"]["low"] > 1.02
    assert strop_process(["verify", run], setting).returncode == 0
    again = strop_process(["rerun", run], setting)
    assert again.returncode == 2 and "about a training" in again.stderr
    trained = strop_process(["train", training_file, "--recipe", run / "recipe.yaml", "--out", tmp_path / "real"], setting)
    assert trained.returncode == 0, trained.stderr


@pytest.mark.slow
def test_a_real_loss_of_quality_is_refused(
    training_file: Path, training_plugin: Path, python_path: Callable[[Path], str], strop_process: Process, tmp_path: Path
) -> None:
    setting = environment(tmp_path, python_path(training_plugin))
    arguments = ["optimize", f"{training_file}:long", "--aim", "throughput", "--budget", "8m", "--only", "frozen"]
    answer = strop_process([*arguments, "--out", tmp_path / "run", "--json"], setting)
    assert answer.returncode == 3, answer.stderr
    report = json.loads(answer.stdout)
    assert "worse quality" in report["outcome"]["reason"] and not (tmp_path / "run" / "recipe.yaml").exists()
    assert report["quality"][0]["guard"] == "broken"
