"""``strop train``: exit codes, JSON, an interrupt and a resume of the real command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORKLOAD = """
import os
import time
import strop
from strop.testing.models import sentences_workload

def workload(**changes):
    return sentences_workload(name="tiny", **changes)

def slow():
    def loss(outputs, batch):
        time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
        return (outputs ** 2).mean()
    return workload(epochs=20, loss=loss)

def broken():
    return workload(loss=None)

def diverges():
    import torch
    return workload(optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=1e30))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a 训练.py"
    path.write_text(WORKLOAD, encoding="utf-8")
    return path


def test_it_trains_and_says_where_everything_is(strop_cli: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    answer = strop_cli("train", file, "--out", tmp_path / "run")
    assert answer.code == 0
    assert "report.html" in answer.out and "model.safetensors" in answer.out
    assert "Trained for 6 of 6 steps: accuracy went from" in answer.err


def test_json_is_one_value_and_nothing_else(strop_cli: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    answer = strop_cli("train", file, "--out", tmp_path / "run", "--json")
    assert answer.code == 0 and answer.err == ""
    assert json.loads(answer.out)["status"] == "trained"


def test_without_out_the_run_lies_under_runs(strop_cli: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    assert strop_cli("train", file, "-q").code == 0
    assert (tmp_path / "runs" / "train-tiny" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{file}:broken"], 2, "loss must be a function; got a NoneType"),
        (["{file}:diverges"], 1, "Diverged after"),
        (["no such.py"], 2, "there is no workload file"),
        (["{file}", "--recipe", "no such.yaml"], 2, "the recipe no such.yaml cannot be read"),
        (["{file}", "--checkpoint-every", "often"], 2, "500 or 5m"),
        (["{file}", "--resume"], 2, "does not hold a run to resume"),
        (["hf:a/model"], 2, "says nothing about loss and optimizer"),
    ],
)
def test_what_goes_wrong_has_its_exit_code_and_its_words(
    arguments: list[str], code: int, words: str, strop_cli: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    answer = strop_cli("train", *(a.format(file=file) for a in arguments), "--out", tmp_path / "run")
    assert answer.code == code and words in answer.err


def test_the_help_names_what_matters(strop_cli: Callable[..., Any]) -> None:
    answer = strop_cli("train", "--help")
    assert answer.code == 0
    for words in ("--recipe", "--out", "--resume", "--checkpoint-every", "--json", "130 interrupted", "torchrun"):
        assert words in answer.out


def test_optimize_asks_of_a_training_what_it_has(strop_cli: Callable[..., Any], file: Path) -> None:
    answer = strop_cli("optimize", file)
    assert answer.code == 2 and "ask for throughput: --aim" in answer.err


def test_an_interrupt_saves_and_a_resume_goes_on(file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "strop", "train", f"{file}:slow", "--out", str(tmp_path / "run"), "--json"]
    events = tmp_path / "run" / "events.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "STEP_SECONDS": "0.1"})
    limit = time.monotonic() + 60
    while not (events.exists() and "train.step" in events.read_text(encoding="utf-8")) and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    first = json.loads(out)
    assert first["status"] == "interrupted" and 0 < first["steps"] < 60
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 60


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (["--model_parallel_size=4", "--pipeline_parallel_size=2", "--data_parallel_size=1"], "= 8, but 1 process was started"),
        (["--data_parallel_size=0"], "data_parallel_size must be at least 1, got 0"),
    ],
)
def test_sizes_of_parallelism_that_do_not_multiply_to_the_processes_end_with_the_arithmetic(
    sizes: list[str], words: str, strop_cli: Callable[..., Any], file: Path
) -> None:
    answer = strop_cli("train", file, *sizes)
    assert answer.code == 2 and words in answer.err


def test_parallelism_that_is_planned_is_refused_by_its_number(
    strop_cli: Callable[..., Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = strop_cli("train", file, "--model_parallel_size=2")
    assert answer.code == 2 and "needs instruction 19, which is planned" in answer.err


def test_sizes_that_fit_one_process_train(strop_cli: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    answer = strop_cli("train", file, "--out", tmp_path / "run", "--data_parallel_size=1")
    assert answer.code == 0
