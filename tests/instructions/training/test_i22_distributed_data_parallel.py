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

def pooled():
    # As of many pretrained encoders, a layer of it takes no part in the answer.
    model = workload().model()
    model.pooler = torch.nn.Linear(32, 32)
    return workload(model=lambda: model)

def dying():
    def loss(outputs, batch):
        if outputs.requires_grad and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.cross_entropy(outputs, batch["labels"])
    return workload(loss=loss)
"""

SPREAD = """
import json, os, pathlib, sys
import torch
from torch import nn
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.training import LossScale
from strop.errors import StropError
from strop.instructions.training.i13_numeric_stability_monitor import NumericStabilityMonitor
from strop.instructions.training.i16_memory_compression import MemoryCompression
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.instructions.training.i23_gradient_checkpointing import GradientCheckpointing
from strop.measure.host import Host
from strop.pipeline import train
from strop.testing.models import training_draft

class Tied(nn.Module):
    # Repeated blocks, dropout-free, and an embedding that is the head's weight too.
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 17)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(17, 17), nn.Tanh()) for _ in range(3))
        self.head = nn.Linear(17, 50)
        self.head.weight = self.embed.weight
    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = x + block(x)
        mask = attention_mask.unsqueeze(-1)
        return {"logits": self.head((x * mask).sum(1) / mask.sum(1))}  # whatever the padding of this rank's part

def build():
    torch.manual_seed(0)
    return Tied()

def run(*instructions, loss_scale=None):
    draft = training_draft(model=build, max_norm=0.5, optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.5, momentum=0.9))
    draft.training.loss_scale = loss_scale
    told = []
    draft.training.on(LoopEvent.STEP_END, lambda loop: told.append([float(loop.step_loss), float(loop.norm)]))
    try:
        done = train(draft, Recipe(instructions), Host(cpu="test", cores=2))
    except StropError as error:
        return {"error": str(error)}
    state = {name: value.tolist() for name, value in draft.model.state_dict().items()}
    tied = draft.model.head.weight is draft.model.embed.weight
    return {
        "steps": told, "state": state, "tallies": done.tallies, "class": type(draft.model).__name__,
        "plain": tied and all(type(p) is nn.Parameter for p in draft.model.parameters()),
        "hooks": sum(len(value) for m in draft.model.modules() for name, value in vars(m).items() if name.endswith("_hooks")),
        "left": sorted(vars(draft.model).keys() ^ vars(build()).keys()),
    }

spread = DistributedDataParallel(strategy="fsdp", timeout=60.0)
told = {
    "one": run(),
    "spread": run(spread),
    "watched": run(spread, NumericStabilityMonitor(), GradientCheckpointing()),
    "scaled": run(spread, loss_scale=LossScale()),
    "compressed": run(spread, MemoryCompression(activations="none", gradient_bits=4)),
}
pathlib.Path(sys.argv[1], os.environ["RANK"] + ".json").write_text(json.dumps(told))
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
    (folder / "spread.yaml").write_text(RECIPE.replace("timeout: 60", "timeout: 60, strategy: fsdp"), encoding="utf-8")
    (folder / "laws.py").write_text(LAWS, encoding="utf-8")
    (folder / "spread.py").write_text(SPREAD, encoding="utf-8")
    return folder


def trained(place: Path, recipe: str, *more: object) -> subprocess.CompletedProcess[str]:
    arguments = ["-m", "strop", "train", place / "w.py", "--recipe", place / f"{recipe}.yaml", "--out", place / recipe]
    return together(*arguments, "--json", "--checkpoint-every", "1", *more)


@pytest.fixture(scope="module")
def both(place: Path) -> subprocess.CompletedProcess[str]:
    """A training on two ranks, with a checkpoint after each step."""
    return trained(place, "two")


@pytest.fixture(scope="module")
def alone(place: Path) -> strop.TrainingResult:
    """The same training in one process."""
    return strop.train(place / "w.py", recipe=place / "one.yaml", out=place / "one")


@pytest.fixture(scope="module")
def spread(place: Path) -> list[dict[str, Any]]:
    """What both ranks say of a model that is spread over them."""
    done = together(place / "spread.py", place)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((place / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_the_laws_hold_on_two_ranks(place: Path) -> None:
    done = together(place / "laws.py", place / "laws")
    assert done.returncode == 0, done.stderr[-2000:]
    assert all((place / "laws" / rank / "kept").is_dir() for rank in "01")


def check_parity(told: dict[str, Any], one: strop.TrainingResult, weights: Path) -> None:
    assert one.weights is not None
    alone, shared = load_file(one.weights), load_file(weights)
    assert list(alone) == list(shared)
    for name in alone:
        torch.testing.assert_close(alone[name], shared[name], rtol=1e-4, atol=1e-6)
    assert told["loss"] == pytest.approx(one.report.loss, rel=1e-5) and told["after"] == one.report.after


def test_two_ranks_take_the_steps_of_one_process(
    both: subprocess.CompletedProcess[str], alone: strop.TrainingResult, place: Path
) -> None:
    assert both.returncode == 0, both.stderr[-2000:]
    told = json.loads(both.stdout)  # one value, from the first process alone
    check_parity(told, alone, place / "two" / "model.safetensors")
    floats = sum(value.numel() for value in load_file(place / "two" / "model.safetensors").values())
    assert told["tallies"]["distributed_data_parallel"] == {"bytes handed to the collective": 6 * 4 * floats, "ranks": 2}


def test_a_layer_that_takes_no_part_in_the_answer_keeps_nobody_waiting(alone: strop.TrainingResult, place: Path) -> None:
    out = place / "pooled"
    done = together("-m", "strop", "train", f"{place / 'w.py'}:pooled", "--recipe", place / "two.yaml", "--out", out, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert alone.weights is not None
    wanted, shared = load_file(alone.weights), load_file(out / "model.safetensors")
    assert set(shared) - set(wanted) == {"pooler.weight", "pooler.bias"}
    for name, value in wanted.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_model_spread_over_two_ranks_takes_the_steps_of_one_process_and_resumes_bit_equal(
    alone: strop.TrainingResult, place: Path
) -> None:
    done = trained(place, "spread")
    assert done.returncode == 0, done.stderr[-2000:]
    weights = place / "spread" / "model.safetensors"
    check_parity(json.loads(done.stdout), alone, weights)
    saved = place / "spread" / "checkpoints"
    sizes = [(saved / f"step-00000006{rank}.safetensors").stat().st_size for rank in ("", ".rank1")]
    assert max(sizes) < 2 * weights.stat().st_size  # momentum and weights, half of each
    whole = load_file(weights)
    for rank in ("", ".rank1"):
        (saved / f"step-00000006{rank}.safetensors").unlink()
    again = trained(place, "spread", "--resume")
    assert again.returncode == 0, again.stderr[-2000:]
    assert all(torch.equal(value, load_file(weights)[name]) for name, value in whole.items())


def test_each_rank_holds_half_and_the_trained_model_is_whole_and_plain_again(spread: list[dict[str, Any]]) -> None:
    first, second = (rank["spread"] for rank in spread)
    assert first["state"] == second["state"]
    counts = [rank["spread"]["tallies"]["distributed_data_parallel"] for rank in spread]
    whole = counts[0]["parameter bytes of the model"]
    assert sum(c["parameter bytes on this rank"] for c in counts) == whole == 4 * (50 * 17 + 3 * (17 * 17 + 17) + 50)
    assert (
        max(c["parameter bytes on this rank"] for c in counts) < 0.55 * whole and counts[0]["blocks gathered by themselves"] == 3
    )
    assert first["class"] == "Tied" and first["plain"] and first["hooks"] == 0 and first["left"] == []


@pytest.mark.parametrize("how", ["spread", "watched"])
def test_losses_norms_and_weights_of_a_spread_model_are_those_of_one_process(spread: list[dict[str, Any]], how: str) -> None:
    one, found = spread[0]["one"], spread[0][how]
    torch.testing.assert_close(torch.tensor(found["steps"]), torch.tensor(one["steps"]), rtol=1e-5, atol=1e-6)
    for name, values in one["state"].items():
        torch.testing.assert_close(torch.tensor(found["state"][name]), torch.tensor(values), rtol=1e-4, atol=1e-6)
    assert found["tallies"].get("numeric_stability_monitor", {}).get("alarms") is None


@pytest.mark.parametrize(
    ("how", "words"),
    [("scaled", "under fsdp each rank would find other overflows"), ("compressed", "need torch's DistributedDataParallel")],
)
def test_what_a_spread_model_cannot_have_is_refused_on_both_ranks(spread: list[dict[str, Any]], how: str, words: str) -> None:
    assert all(words in rank[how]["error"] for rank in spread)


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


@pytest.mark.parametrize("recipe", ["two", pytest.param("spread", marks=pytest.mark.slow)])
def test_a_rank_that_dies_ends_the_others_with_a_clear_error_in_bounded_time(place: Path, recipe: str) -> None:
    begin, out = time.monotonic(), place / f"dying {recipe}"
    done = together("-m", "strop", "train", f"{place / 'w.py'}:dying", "--recipe", place / f"{recipe}.yaml", "--out", out, "-q")
    assert done.returncode != 0 and time.monotonic() - begin < 60
    # told by the other rank, or by torchrun, whoever is first
    assert "step 1 failed" in done.stderr or "exitcode  : -9" in done.stderr


@pytest.mark.parametrize(
    ("world", "settings", "accelerators", "words"),
    [
        ("1", {}, False, "a single process was started"),
        ("16", {}, False, "a batch of 8 samples cannot be shared by 16 processes"),
        ("2", {"backend": "nccl"}, False, "nccl needs CUDA, and torch finds none here; use gloo"),
        ("2", {"backend": "gloo"}, True, "torch finds accelerators here; use nccl"),
        ("2", {}, True, "None"),
    ],
)
def test_what_cannot_be_shared_is_declined(
    world: str, settings: dict[str, Any], accelerators: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setattr("torch.cuda.is_available", lambda: accelerators)
    assert words in str(DistributedDataParallel(**settings).decline(training_draft(), HOST))


@pytest.mark.parametrize("name", ["bucket_mb", "timeout"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        DistributedDataParallel(**{name: 0.0})  # type: ignore[arg-type]


def test_it_brings_ranks() -> None:
    assert DistributedDataParallel().ties().adds == {Trait.RANKS}
