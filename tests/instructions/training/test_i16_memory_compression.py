"""Activations in fewer bits: bytes to the byte, gradients near. Gradients in four bits: two real processes that stay equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import strop
from strop.contract.draft import Draft
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.errors import PrepareError
from strop.instructions.training import i16_memory_compression as module
from strop.instructions.training.i16_memory_compression import MemoryCompression
from strop.instructions.training.i23_gradient_checkpointing import GradientCheckpointing
from strop.loop.loop import TrainingLoop
from strop.measure.host import Host
from strop.measure.memory import tensor_held, tensor_peak
from strop.pipeline import Outcome, Preparation, legal, train
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import training_draft

HOST = Host(cpu="test", cores=2)
PACKING = MemoryCompression(smallest=256)


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=PACKING,
        draft=training_draft,
        declined=MemoryCompression(activations="none"),
        idle=(MemoryCompression(smallest=2**30), training_draft),
    )


class Wide(nn.Module):
    """Repeats blocks whose activations are nearly all of its memory."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 64), nn.Linear(64, 3)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 64)) for _ in range(4))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = x + layer(x)
        return {"logits": self.head(x.mean(1))}


def wide_draft() -> Draft:
    def build() -> Wide:
        torch.manual_seed(0)
        return Wide()

    return training_draft(model=build, batch_size=24)


def trained(*recipe: Any) -> tuple[Preparation, int, int]:
    """Train in one process; return what was done, and bytes of tensors: held between forward and backward, and at most."""
    found: list[int] = []

    def run(loop: TrainingLoop) -> None:
        loop.run(1)
        (micro,), earlier = loop.micros(loop.samples), (loop.outputs, loop.loss)  # held, or their release would count
        found.append(tensor_held(lambda: loop.forward(micro)))
        del earlier
        found.append(tensor_peak(lambda: loop.run(1)))

    done = train(wide_draft(), Recipe(recipe), HOST, run=run)
    return done, found[0], found[1]


@pytest.mark.parametrize(("form", "share"), [("bfloat16", 0.5), ("float16", 0.5), ("int8", 66 / 256)])
def test_what_is_saved_shrinks_by_what_the_format_promises(form: Any, share: float) -> None:
    _, plain, highest = trained()
    done, packed, lower = trained(MemoryCompression(activations=form, smallest=1000))
    freed = done.tallies["memory_compression"]["bytes no longer kept"]
    saved = 4 * 24 * (4 * 14 * (64 + 256) + 64)  # of four blocks their input and the answer of tanh; the mean before the head
    assert freed == saved * (1 - share)
    assert plain - packed == pytest.approx(freed, rel=0.01), "what it tells is what a profiler sees"
    assert packed < 0.8 * plain and lower < highest, "packing alone saves a fifth of what is held"


def test_packed_training_learns_what_plain_training_learns() -> None:
    losses: list[list[float]] = []
    for recipe in ([], [PACKING]):
        draft, seen = training_draft(epochs=20), list[float]()
        assert draft.training is not None
        draft.training.on(LoopEvent.STEP_END, lambda loop, seen=seen: seen.append(float(loop.step_loss)))  # type: ignore[misc]
        train(draft, Recipe(recipe), HOST)
        losses.append(seen)
    plain, packed = losses
    assert plain[0] == packed[0], "forward is not touched"
    assert plain[5] != packed[5] == pytest.approx(plain[5], rel=0.02)
    assert max(plain[-3:] + packed[-3:]) < 0.1 * plain[0]


def test_together_with_recomputing_only_the_blocks_inputs_are_left_to_pack() -> None:
    settings = MemoryCompression(smallest=1000)
    plain, packing, recomputing, both = (
        trained(*recipe) for recipe in ([], [settings], [GradientCheckpointing()], [GradientCheckpointing(), settings])
    )
    assert plain[1] > packing[1] > recomputing[1] > both[1]
    freed = [done.tallies["memory_compression"]["bytes no longer kept"] for done, _, _ in (packing, both)]
    assert freed[1] == 2 * 24 * (4 * 14 * 64 + 64) == pytest.approx(recomputing[1] - both[1], rel=0.02)
    assert plain[1] - both[1] < freed[0] + (plain[1] - recomputing[1]), "the savings do not add up"


@pytest.mark.parametrize(("used", "packs"), [(0.80, False), (0.90, True)])
def test_below_the_threshold_nothing_is_packed(used: float, packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < module._used("cpu") < 1, "what is really in use"
    monkeypatch.setattr(module, "_used", lambda device: used)
    done, *_ = trained(MemoryCompression(threshold=0.85, smallest=0))
    assert (done.outcome is Outcome.PREPARED) == packs


def test_in_a_loop_of_ones_own_it_packs_too() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1)), torch.randn(32, 8)
    plain = torch.autograd.grad(net(x).square().mean(), list(net.parameters()))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    with strop.inline(net, optimizer, recipe=Recipe([PACKING]), steps=1) as s, s.step():
        s.backward(net(x).square().mean())
    first = net[0].weight.grad
    assert first is not None and not torch.equal(first, plain[0])
    assert torch.allclose(first, plain[0], atol=0.02 * float(plain[0].abs().max()))


@pytest.mark.parametrize("settings", [{"smallest": -1}, {"threshold": 1.0}, {"threshold": -0.1}], ids=str)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        MemoryCompression(**settings)


def test_gradients_need_ranks_and_too_many_are_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    four = MemoryCompression(gradient_bits=4)
    assert "several ranks" in str(legal(Recipe([four]), frozenset({Trait.TRAINING})))
    for world, bits, words in (("15", 4, ""), ("16", 4, "from 16 ranks"), ("8", 8, "from 8 ranks")):
        monkeypatch.setenv("WORLD_SIZE", world)
        reason = MemoryCompression(gradient_bits=bits).decline(training_draft(), HOST)  # type: ignore[arg-type]
        assert (words in str(reason)) if words else reason is None


def test_without_torch_s_wrapper_gradients_in_few_bits_are_refused_before_the_first_step() -> None:
    with pytest.raises(PrepareError, match=r"DistributedDataParallel around the model, which is a TinyAttention; add"):
        train(training_draft(), Recipe([MemoryCompression(gradient_bits=4)]), HOST)


TWO = """
import json, os, pathlib, sys
import torch
from torch import nn
from torch.nn import functional
import strop
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.errors import PrepareError
from strop.instructions.training.i16_memory_compression import MemoryCompression
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.measure.host import Host
from strop.pipeline import train
from strop.testing.case import LawCase
from strop.testing.laws import LAWS
from strop.testing.models import training_draft, training_draft_for

RANK, FOLDER = int(os.environ["RANK"]), pathlib.Path(sys.argv[1])
HOST = Host(cpu="test", cores=2, isa=frozenset({"avx512_fp16"}))
RANKS = DistributedDataParallel(timeout=60.0, bucket_mb=0.1)
FOUR = MemoryCompression(activations="none", gradient_bits=4)
LOSING = MemoryCompression(activations="none", gradient_bits=4, error_feedback=False)

def settled(draft):
    return [[round(float(v), 9) for v in p.flatten()] for p in draft.model.parameters()]

def digest(draft):
    return {name: value.numpy().tobytes().hex() for name, value in draft.model.state_dict().items()}

# --- clusters: does it learn as well, and are the ranks equal? ---
def clusters(seed):
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 32, generator=random)
    labels = torch.randint(0, 10, (1600,), generator=random)
    return centres[labels] + 1.2 * torch.randn(1600, 32, generator=random), labels

def classify(seed, recipe):
    x, y = clusters(7)
    def build():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    workload = strop.TrainingWorkload(
        name="clusters", model=build, data=[(x[n], y[n]) for n in range(800)], forward=lambda model, batch: model(batch[0]),
        loss=lambda outputs, batch: functional.cross_entropy(outputs, batch[1], reduction="none"),
        optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        metric=strop.unjudged("judged below"), batch_size=32, epochs=3)
    draft = training_draft_for(workload)
    draft.seed = seed
    done = train(draft, Recipe([RANKS, *recipe]), HOST)
    with torch.no_grad():
        right = (draft.model(x[800:]).argmax(-1) == y[800:]).float().mean()
    return {"accuracy": float(right), "weights": digest(draft), "tally": done.tallies.get("memory_compression")}

told = {"runs": [[classify(seed, recipe) for recipe in ([], [FOUR])] for seed in range(3)]}
layers = nn.Sequential(nn.Linear(32, 256), nn.Linear(256, 128), nn.Linear(128, 10))
told["plain_bytes"] = 4 * sum(p.numel() for p in layers.parameters())

# --- small gradients beside large ones, and a gradient that is not finite ---
class Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(128))
    def forward(self, batch):
        return self.w[None].expand(len(batch), -1)

def slope(recipe, spoil=-1, watch=None):
    pull = torch.full((128,), 0.01)
    pull[::64] = 1.0
    workload = strop.TrainingWorkload(
        name="slope", model=Slope, data=[float(n) for n in range(200)], forward=lambda model, batch: model(batch),
        loss=lambda outputs, batch: -(outputs * pull).sum(1), optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=1.0),
        metric=strop.unjudged("judged below"), batch_size=2, epochs=1)
    draft = training_draft_for(workload)
    def spoiled(loop):
        if loop.step == spoil and RANK == 1:
            loop.loss = loop.loss * float("inf")
    def look(loop):
        grad = loop.model.module.w.grad
        watch.append(bool(grad.isfinite().all()))
        if not watch[-1]:
            loop.veto()
    draft.training.on(LoopEvent.AFTER_LOSS, spoiled)
    if watch is not None:
        draft.training.on(LoopEvent.GRADS_READY, look)
    train(draft, Recipe([RANKS, *recipe]), HOST)
    return settled(draft)[0]

told["slope"] = {name: slope(recipe) for name, recipe in (("plain", []), ("four", [FOUR]), ("losing", [LOSING]))}
finite = []
told["after infinity"], told["finite"] = slope([FOUR], 50, finite), finite

# --- a loop of one's own, around a model that its owner has wrapped ---
from strop.compat import MemoryCompressor
def own_loop(recipe):
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [torch.randn(16, 8, generator=torch.Generator().manual_seed(2 * n + RANK)) for n in range(5)]
    with strop.inline(model, optimizer, recipe=Recipe(recipe), steps=5) as s:
        for x in s.batches(batches):
            with s.step():
                s.backward((model(x) - 1).square().mean())
    return [[float(v) for v in p.flatten()] for p in model.parameters()]
documented = MemoryCompressor(algorithms=[
    {"name": "fp16_lossy", "scope": "activations"}, {"name": "bitpacking", "scope": "gradients", "bits": 4}], threshold=0.0)
told["own loop"] = [own_loop([]), own_loop([documented])]

# --- refused ---
try:
    train(training_draft(), Recipe([RANKS, FOUR, AmpOptimizer(dtype="float16")]), HOST)
except PrepareError as error:
    told["scaled"] = str(error)
from torch.distributed.fsdp import fully_shard
from torch.distributed.device_mesh import init_device_mesh
sharded = training_draft()
sharded.model = fully_shard(sharded.model, mesh=init_device_mesh("cpu", (2,)))
told["sharded"] = FOUR.decline(sharded, HOST)
(FOLDER / f"told-{RANK}.json").write_text(json.dumps(told))

# --- the laws, resuming from what is owed among them ---
case = LawCase(
    instruction=MemoryCompression(smallest=256, gradient_bits=4), draft=training_draft, companions=(RANKS,),
    declined=MemoryCompression(activations="none"), idle=(MemoryCompression(smallest=2**30), training_draft))
for law in LAWS:
    if law.__name__ in ("law_fidelity", "law_idle", "law_repeatable", "law_resumes"):  # the others need no ranks
        law(case, FOLDER / str(RANK) / law.__name__)
(FOLDER / f"laws-{RANK}").touch()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found out that were started together, once."""
    place = tmp_path_factory.mktemp("two")
    (place / "two.py").write_text(TWO, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", place / "two.py", place]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=150, env=environment, check=False)
    (place / "errors.txt").write_text(done.stderr[-3000:], encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def told(folder: Path) -> list[dict[str, Any]]:
    files = [folder / f"told-{rank}.json" for rank in (0, 1)]
    assert all(file.exists() for file in files), (folder / "errors.txt").read_text(encoding="utf-8")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def test_the_laws_hold_on_two_ranks_and_what_is_owed_survives_a_resume(folder: Path) -> None:
    assert all((folder / f"laws-{rank}").exists() for rank in (0, 1)), (folder / "errors.txt").read_text(encoding="utf-8")


def test_both_ranks_hold_the_same_weights_to_the_bit(told: list[dict[str, Any]]) -> None:
    for first, second in zip(told[0]["runs"], told[1]["runs"], strict=True):
        for one, other in zip(first, second, strict=True):
            assert one["weights"] == other["weights"]
        assert first[0]["weights"] != first[1]["weights"], "the codes did round"


def test_bytes_handed_to_the_collective_are_at_most_fourteen_percent(told: list[dict[str, Any]]) -> None:
    steps = 3 * 800 // 32
    for _, four in told[0]["runs"]:
        counts = four["tally"]
        assert counts["bytes handed to it without"] == steps * told[0]["plain_bytes"]
        assert 0.13 < counts["bytes handed to the collective"] / counts["bytes handed to it without"] <= 0.14
        # two ranks: each sends its message once; a ring sends every gradient twice by half
        assert counts["bytes sent by each rank"] == counts["bytes handed to the collective"]
        assert counts["bytes sent by each rank without"] == counts["bytes handed to it without"]


def test_it_learns_as_well_within_the_noise_of_seeds(told: list[dict[str, Any]]) -> None:
    plain, four = ([run[arm]["accuracy"] for run in told[0]["runs"]] for arm in (0, 1))
    assert min(plain) > 0.85, "there is something to lose"
    noise = max(plain) - min(plain) + 2 / 800
    assert sum(four) / 3 > sum(plain) / 3 - noise


def test_small_gradients_beside_large_ones_arrive_late_but_arrive_and_are_lost_without_feedback(
    told: list[dict[str, Any]],
) -> None:
    slope = told[0]["slope"]
    small = [n for n in range(128) if n % 64]
    assert all(slope["plain"][n] == pytest.approx(1.0, abs=1e-4) for n in small)
    assert all(slope["losing"][n] == 0 for n in small)
    assert all(slope["four"][n] == pytest.approx(1.0, abs=1 / 7) for n in small)  # at most a scale is still owed
    assert slope["four"][0] == pytest.approx(100, rel=0.01)


def test_a_gradient_that_is_not_finite_arrives_as_such_on_both_ranks_and_leaves_nothing(told: list[dict[str, Any]]) -> None:
    for rank in told:
        assert rank["finite"] == [step != 50 for step in range(100)]
        assert all(value == pytest.approx(0.99, abs=1 / 7) for n, value in enumerate(rank["after infinity"]) if n % 64)


def test_in_a_loop_of_ones_own_around_a_wrapped_model_ranks_stay_equal_too(told: list[dict[str, Any]]) -> None:
    (plain, coded), (_, other) = (rank["own loop"] for rank in told)
    assert coded == other != plain
    assert all(torch.allclose(torch.tensor(a), torch.tensor(b), atol=0.05) for a, b in zip(plain, coded, strict=True))


def test_a_loss_scale_and_sharded_models_are_refused_in_words(told: list[dict[str, Any]]) -> None:
    assert "a loss scale would change their unit" in told[0]["scaled"]
    assert "sharded by FSDP" in told[1]["sharded"]
