"""Two processes that train together, for real: the laws, parity with one process, resuming, and a rank that dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import strop
from strop.contract.ties import Trait
from strop.errors import PrepareError
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.measure.host import Host
from strop.testing.models import training_draft

HOST = Host(cpu="test", cores=2)

LAWS = """
import json, os, pathlib, sys
from strop.instructions.training.i08_lr_scheduler import LrScheduler
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.testing.case import LawCase
from strop.testing.laws import LAWS
from strop.testing.models import training_draft

# What it would be idle on, a world of one, it declines; so there is no case for law_idle.
case = LawCase(
    instruction=DistributedDataParallel(timeout=60.0), draft=training_draft, foreign=lambda: training_draft(batch_size=1),
    idle=(LrScheduler(shape="constant", warmup=0.0), training_draft), tolerance=1e-5,
)
folder = pathlib.Path(sys.argv[1]) / os.environ["RANK"]
for law in LAWS:
    law(case, folder / law.__name__)
(folder / "kept").mkdir(parents=True)
"""

WORKLOAD = """
import os, signal
import torch
from strop.testing.models import sentences_workload

def workload(**changes):
    return sentences_workload(name="tiny", optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9), **changes)

def dying():
    def loss(outputs, batch):
        if outputs.requires_grad and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.cross_entropy(outputs, batch["labels"])
    return workload(loss=loss)
"""

RECIPE = "strop: 1\ninstructions:\n  distributed_data_parallel: {timeout: 60}\n  lr_scheduler: {}\n"


def together(*arguments: object, count: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two ranks 两")
    (folder / "w.py").write_text(WORKLOAD, encoding="utf-8")
    (folder / "two.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "one.yaml").write_text("strop: 1\ninstructions: {lr_scheduler: {}}\n", encoding="utf-8")
    (folder / "laws.py").write_text(LAWS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def both(place: Path) -> subprocess.CompletedProcess[str]:
    """A training on two ranks, with a checkpoint after each step."""
    return together(
        "-m",
        "strop",
        "train",
        place / "w.py",
        "--recipe",
        place / "two.yaml",
        "--out",
        place / "two",
        "--json",
        "--checkpoint-every",
        "1",
    )


def test_the_laws_hold_on_two_ranks(place: Path) -> None:
    done = together(place / "laws.py", place / "laws")
    assert done.returncode == 0, done.stderr[-2000:]
    assert all((place / "laws" / rank / "kept").is_dir() for rank in "01")


def test_two_ranks_take_the_steps_of_one_process(both: subprocess.CompletedProcess[str], place: Path) -> None:
    assert both.returncode == 0, both.stderr[-2000:]
    told = json.loads(both.stdout)  # one value, from the first process alone
    one = strop.train(place / "w.py", recipe=place / "one.yaml", out=place / "one")
    assert one.weights is not None
    alone, shared = load_file(one.weights), load_file(place / "two" / "model.safetensors")
    assert list(alone) == list(shared)
    for name in alone:
        torch.testing.assert_close(alone[name], shared[name], rtol=1e-4, atol=1e-6)
    assert told["loss"] == pytest.approx(one.report.loss, rel=1e-5) and told["after"] == one.report.after
    counts, floats = told["tallies"]["distributed_data_parallel"], sum(value.numel() for value in alone.values())
    assert counts == {"bytes handed to the collective": 6 * 4 * floats, "ranks": 2}


def test_a_resume_on_another_number_of_ranks_is_refused_by_name(both: subprocess.CompletedProcess[str], place: Path) -> None:
    assert both.returncode == 0
    with pytest.raises(PrepareError, match="a single process was started"):
        strop.train(place / "w.py", recipe=place / "two.yaml", out=place / "two", resume=True)


def test_a_resumed_training_on_two_ranks_ends_bit_equal(both: subprocess.CompletedProcess[str], place: Path) -> None:
    assert both.returncode == 0
    whole = load_file(place / "two" / "model.safetensors")
    for rank in ("", ".rank1"):
        (place / "two" / "checkpoints" / f"step-00000006{rank}.safetensors").unlink()
    done = together(
        "-m", "strop", "train", place / "w.py", "--recipe", place / "two.yaml", "--out", place / "two", "--resume", "-q"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    again = load_file(place / "two" / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_rank_that_dies_ends_the_others_with_a_clear_error_in_bounded_time(place: Path) -> None:
    begin = time.monotonic()
    done = together(
        "-m", "strop", "train", f"{place / 'w.py'}:dying", "--recipe", place / "two.yaml", "--out", place / "dying", "-q"
    )
    assert done.returncode != 0 and time.monotonic() - begin < 60
    # told by the other rank, or by torchrun, whoever is first
    assert "step 1 failed" in done.stderr or "exitcode  : -9" in done.stderr


@pytest.mark.parametrize(
    ("world", "settings", "draft", "words"),
    [
        ("1", {}, {}, "a single process was started"),
        ("16", {}, {}, "a batch of 8 samples cannot be shared by 16 processes"),
        ("2", {"backend": "nccl"}, {}, "nccl needs CUDA"),
    ],
)
def test_what_cannot_be_shared_is_declined(
    world: str, settings: dict[str, Any], draft: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", world)
    if settings and torch.cuda.is_available():
        pytest.fail("this machine has CUDA; the case is about one without")
    assert words in str(DistributedDataParallel(**settings).decline(training_draft(**draft), HOST))


@pytest.mark.parametrize("name", ["bucket_mb", "timeout"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        DistributedDataParallel(**{name: 0.0})  # type: ignore[arg-type]


def test_it_brings_ranks() -> None:
    assert DistributedDataParallel().ties().adds == {Trait.RANKS}
