"""Preparing in processes of their own: every way of dying is a result, and only whole artefacts are found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from strop.contract.examples import read_examples
from strop.contract.recipe import Recipe
from strop.errors import PrepareError
from strop.instructions.inference.i34_knowledge_distillation import KnowledgeDistillation
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.measure.arm import Arm
from strop.measure.counters import group_members, process_state
from strop.pipeline import Outcome, artefact_key
from strop.trial.materials import build_model
from strop.trial.workshop import Prepared, Workshop

LONG = 300.0
"""Seconds that no preparation here should need; a time-out that comes true is a failure of the test."""

GIB = 1 << 30

FAULTY = """
import json, os, signal, subprocess, sys, threading
from pathlib import Path
import numpy as np

HERE = Path(__file__).parent
TASK = json.loads(Path(sys.argv[1]).read_text()) if sys.argv[1].endswith("task.json") else None
RECIPE = TASK["recipe"] if TASK else {}
FAULT = (HERE / "faults" / str(RECIPE["kernel_fusion"].get("threshold"))) if "kernel_fusion" in RECIPE else None
FAULT = FAULT.read_text() if FAULT is not None and FAULT.exists() else ""

if TASK:
    with (HERE / "started.txt").open("a") as stream:
        stream.write(f"{RECIPE}\\n")

def leave_half():
    folder = Path(TASK["folder"]) / "artefact"
    folder.mkdir(exist_ok=True)
    (folder / "leftover.bin").write_bytes(b"half")

def start_child():
    child = subprocess.Popen(["/bin/sleep", "600"])
    (HERE / f"{FAULT}.pids").write_text(f"{os.getpid()} {child.pid}")

def die(signal_number):
    os.kill(os.getpid(), signal_number)

class Model(Mlp):
    def forward(self, x):
        if FAULT == "segfault":
            die(signal.SIGSEGV)
        if FAULT == "orphan":
            start_child()
            die(signal.SIGSEGV)
        if FAULT == "hang":
            start_child()
            threading.Event().wait()
        if FAULT == "memory":
            np.ones(8 << 30, dtype=np.uint8)
        if FAULT == "silent":
            os._exit(0)
        if FAULT == "words":
            sys.stderr.write("\\nnot the last\\nthe last words\\n\\n")
            sys.stderr.flush()
            os._exit(7)
        if FAULT == "half, killed":
            leave_half()
            die(signal.SIGKILL)
        if FAULT == "half, raised":
            leave_half()
            raise RuntimeError("planted")
        if FAULT == "environment":
            raise RuntimeError(os.environ["PYTHONHASHSEED"] + os.environ["TOKENIZERS_PARALLELISM"] + sys.stdin.read())
        return super().forward(x)
"""

FAULTS = ("segfault", "orphan", "memory", "silent", "words", "half, killed", "half, raised", "environment")
HANG = 99
GOOD = len(FAULTS) + 1


@dataclass
class Scene:
    """One workshop whose preparing processes misbehave by the recipe's threshold."""

    place: Any
    shop: Workshop
    prepared: dict[str, Prepared]
    recipe: Callable[[int], Recipe]
    published: frozenset[str] = frozenset()
    log: str = ""  # of what raised, before a test mends it and prepares it again

    @property
    def cache(self) -> Path:
        folder: Path = self.place.folder / "缓存 cache"
        return folder

    def started(self) -> int:
        return len((self.place.folder / "started.txt").read_text().splitlines())

    def plant(self, threshold: int, fault: str) -> None:
        path = self.place.folder / "faults" / str(threshold)
        path.parent.mkdir(exist_ok=True)
        path.write_text(fault)

    def mend(self, threshold: int) -> None:
        (self.place.folder / "faults" / str(threshold)).unlink()


@pytest.fixture(scope="module")
def scene(kit: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """All faults at once, with one sound recipe behind them."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("workshop")
        patch.setenv("STROP_CACHE", str(base / "用户 cache"))
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "argv", ["pytest", ""])
        place = kit.Place(base)
        text = kit.MLP + FAULTY
        reference = place.refer(text.replace("model=Mlp", "model=lambda: Model()"))
        _, _, materials = place.opened(reference)
        built = Scene(
            place, place.shop(reference, materials, memory=6 * GIB), {}, lambda threshold: Recipe([kit.fuse(threshold)])
        )
        for number, fault in enumerate(FAULTS, start=1):
            built.plant(number, fault)
        done = built.shop.prepare([built.recipe(number) for number in range(1, GOOD + 1)], LONG)
        built.prepared.update(zip((*FAULTS, "none"), done, strict=True))
        built.published = frozenset(path.relative_to(built.cache).as_posix() for path in built.cache.rglob("*"))
        raised = built.prepared["half, raised"].folder.name
        built.log = (place.folder / "日志 logs" / f"prepare-{raised}.log").read_text(encoding="utf-8")
        yield built


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", "the process ended with signal SIGSEGV"),
        ("orphan", "the process ended with signal SIGSEGV"),
        ("memory", "memory exhausted while preparing"),
        ("silent", "the process ended with exit code 0"),
        ("words", "the process ended with exit code 7: the last words"),
        ("half, killed", "the process ended with signal SIGKILL"),
        ("half, raised", "RuntimeError: planted"),
        ("environment", "RuntimeError: 0false"),
    ],
)
def test_every_way_of_dying_is_a_result_with_a_reason(fault: str, reason: str, scene: Scene) -> None:
    done = scene.prepared[fault]
    assert (done.preparation.outcome, done.preparation.reason) == (Outcome.FAILED, reason)
    assert not done.ready
    assert done.seconds > 0


def test_the_next_recipe_is_still_prepared(scene: Scene) -> None:
    done = scene.prepared["none"]
    assert done.ready
    assert done.preparation.tallies == {"kernel_fusion": {"linear+activation": 1}}
    assert done.seconds > 0
    assert done.size == sum(path.stat().st_size for path in done.artefact.iterdir()) > 0


def test_only_whole_artefacts_are_found_in_the_cache(scene: Scene) -> None:
    assert {name.partition("/")[0] for name in scene.published} == {scene.prepared["none"].folder.name}
    assert [name for name in scene.published if name.endswith("leftover.bin")] == []


def test_the_traceback_of_a_failure_is_in_its_log(scene: Scene) -> None:
    assert "Traceback" in scene.log
    assert "RuntimeError: planted" in scene.log


def wait_gone(pids: list[int]) -> None:
    limit = time.monotonic() + 20
    while any(process_state(pid) not in ("Z", "") for pid in pids):
        assert time.monotonic() < limit, "a process was left behind"
        time.sleep(0.01)


def test_a_crash_takes_the_processes_with_it_that_it_had_started(scene: Scene) -> None:
    pids = [int(word) for word in (scene.place.folder / "orphan.pids").read_text().split()]
    assert len(pids) == 2
    wait_gone([*pids, *group_members(pids[0])])


def test_a_hang_is_stopped_with_its_whole_group_and_is_a_result(scene: Scene) -> None:
    scene.plant(HANG, "hang")
    written = scene.place.folder / "hang.pids"
    for timeout in (4, 16, 64, 256):  # a slow machine has not come to the hang after the first
        (done,) = scene.shop.prepare([scene.recipe(HANG)], timeout)
        assert done.preparation.outcome is Outcome.FAILED
        assert done.preparation.reason == f"preparing took more than {timeout} s and was stopped"
        if written.exists():
            break
    pids = [int(word) for word in written.read_text().split()]
    assert len(pids) == 2
    wait_gone([*pids, *group_members(pids[0])])
    assert scene.prepared["none"].folder.name in {path.name for path in scene.cache.iterdir()}
    assert done.folder.name not in {path.name.strip(".").partition(".")[0] for path in scene.cache.iterdir()}


def test_the_same_recipe_is_prepared_once(scene: Scene) -> None:
    before, stamp = scene.started(), (scene.prepared["none"].artefact / "weights.safetensors").stat().st_mtime_ns
    again, twice = scene.shop.prepare([scene.recipe(GOOD), scene.recipe(GOOD)], LONG)
    assert scene.started() == before
    assert again == twice
    assert (again.preparation, again.folder, again.seconds) == (
        scene.prepared["none"].preparation,
        scene.prepared["none"].folder,
        0.0,
    )
    assert (again.artefact / "weights.safetensors").stat().st_mtime_ns == stamp


def test_a_failure_is_tried_again_and_leaves_nothing_in_the_artefact_that_follows(scene: Scene) -> None:
    """Memory and disks fill up and empty again: a failure of yesterday is no answer for today."""
    numbers = [FAULTS.index(fault) + 1 for fault in ("half, killed", "half, raised")]
    for number in numbers:
        scene.mend(number)
    for done in scene.shop.prepare([scene.recipe(number) for number in numbers], LONG):
        assert done.ready, done.preparation.reason
        assert {path.name for path in done.artefact.iterdir()} == {"weights.safetensors", "engine.json"}


def test_what_another_process_of_the_same_number_left_unfinished_is_not_mixed_in(scene: Scene, kit: SimpleNamespace) -> None:
    """In a container, process numbers come again and again."""
    recipe = Recipe([kit.fuse(50)])
    stale = scene.cache / f".{artefact_key(recipe, {'test': 1})}.{os.getpid()}" / "artefact"
    stale.mkdir(parents=True)
    (stale / "stale.bin").write_bytes(b"of another life")
    (done,) = scene.shop.prepare([recipe], LONG)
    assert {path.name for path in done.artefact.iterdir()} == {"weights.safetensors", "engine.json"}


def test_an_arm_opens_what_was_prepared_and_answers_as_the_original(scene: Scene, tmp_path: Path) -> None:
    """Another process again; launch environment and options of opening come from the recipe."""
    recipe = scene.recipe(GOOD).with_(MemoryLayout(channels_last=False, threads=1, pin=True))
    (done,) = scene.shop.prepare([recipe], LONG)
    assert done.ready, done.preparation.reason
    assert (done.options.threads, done.options.pin) == (1, True)
    os.utime(done.folder, (1000.0, 1000.0))
    spec = scene.shop.arm(done, "candidate", environment={"MORE": "1"})
    assert done.folder.stat().st_mtime > 1000.0, "what is in use is not forgotten by the cache"
    wanted = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_PROC_BIND": "close", "OMP_PLACES": "cores", "MORE": "1"}
    assert (spec.name, dict(spec.environment)) == ("candidate", wanted)
    assert spec.memory_limit is not None
    workload = scene.shop._task(recipe, done.folder).reference.load()
    model = build_model(workload, 0)
    split = scene.place.folder / "材料 data" / "splits" / "screening.safetensors"
    with Arm.start(spec, seed=1, log=tmp_path / "arm.log") as arm:
        arm.load()
        assert arm.points == {"four rows": 3, "two rows": 2}
        assert arm.call("evaluate", {"inputs": str(split), "answers": str(tmp_path / "a.safetensors")})["inputs"] == 5
    with torch.inference_mode():
        for got, given in zip(read_examples(tmp_path / "a.safetensors"), workload.screening.inputs, strict=True):
            assert torch.allclose(torch.from_numpy(got), model(given), atol=1e-5)


def test_settings_of_opening_share_one_artefact(scene: Scene) -> None:
    before = scene.started()
    recipes = [scene.recipe(GOOD).with_(MemoryLayout(channels_last=False, threads=1, pin=pin)) for pin in (True, False)]
    pinned, free = scene.shop.prepare(recipes, LONG)
    assert scene.started() <= before + 1
    assert pinned.folder == free.folder
    assert (pinned.options.pin, free.options.pin) == (True, False)


def test_the_original_is_prepared_from_the_model_at_hand_and_found_again(place: Any) -> None:
    reference = place.refer()
    workload, model, materials = place.opened(reference)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, again = (place.shop(reference, materials).prepare_original(workload, model) for _ in range(2))
    assert first.ready
    assert first.folder == again.folder
    assert first.recipe == Recipe()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [path.name for path in (place.folder / "缓存 cache").iterdir()] == [first.folder.name]


UNSAVED = """
class Overlapping(Mlp):
    def __init__(self):
        super().__init__()
        whole = torch.zeros(9, 2)
        self.register_buffer("front", whole[:6])
        self.register_buffer("back", whole[3:])
"""


def test_an_original_that_cannot_be_prepared_is_told(place: Any, kit: SimpleNamespace) -> None:
    """Nothing can be compared with it; nothing half-written stays."""
    reference = place.refer((kit.MLP + UNSAVED).replace("model=Mlp", "model=lambda: Overlapping()"))
    workload, model, materials = place.opened(reference)
    shop = place.shop(reference, materials)
    with pytest.raises(PrepareError, match="the original model cannot be prepared: RuntimeError: "):
        shop.prepare_original(workload, model)
    assert list((place.folder / "缓存 cache").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "same"),
    [("workload", False), ("neighbour_of_shop", False), ("nothing", True)],
)
def test_artefacts_are_found_by_the_content_they_depend_on(changed: str, same: bool, place: Any, kit: SimpleNamespace) -> None:
    place.write("word = 1\n", "neighbour_of_shop.py")
    text = "import neighbour_of_shop\n" + kit.MLP
    folders = []
    for step in range(2):
        if step and changed == "neighbour_of_shop":
            place.write("word = 2\n", "neighbour_of_shop.py")
        reference = place.refer(text + ("# edited\n" if step and changed == "workload" else ""))
        workload, model, materials = place.opened(reference)
        origin = {"workload": reference.digest(), "data": materials.index["data"]}
        shop = place.shop(reference, materials, origin=origin)
        folders.append(shop.prepare_original(workload, model).folder)
    assert (folders[0] == folders[1]) == same


TOGETHER = """
import os, sys, time
from pathlib import Path

def model():
    if sys.argv[1:] and sys.argv[1].endswith("task.json"):
        meeting = Path(__file__).parent / "meeting"
        (meeting / str(os.getpid())).touch()
        limit = time.monotonic() + 200
        while len(list(meeting.iterdir())) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
    return Mlp()
"""

ANOTHER = """
import json, sys
from pathlib import Path
from strop.catalogue import recipe_from_json
from strop.measure.host import Host
from strop.trial.materials import Materials
from strop.trial.reference import Reference
from strop.trial.workshop import Workshop

told = json.loads(sys.argv[1])
host = Host(cpu="a test CPU", cores=2)
where = {name: Path(told[name]) for name in ("materials", "cache", "logs")}
reference, materials = Reference(**told["reference"]), Materials(where["materials"])
shop = Workshop(reference, materials, host, where["cache"], {"test": 1}, where["logs"], 0)
(done,) = shop.prepare([recipe_from_json(told["recipe"])], 300)
print(done.preparation.outcome, done.folder.name, round(done.seconds) > 0)
"""


def test_two_runs_that_prepare_the_same_recipe_at_once_both_succeed(place: Any, kit: SimpleNamespace) -> None:
    """Their preparing processes wait for each other inside model(), so that neither comes first."""
    (place.folder / "meeting").mkdir()
    reference = place.refer((kit.MLP + TOGETHER).replace("model=Mlp", "model=lambda: model()"))
    _, _, materials = place.opened(reference)
    recipe = Recipe([kit.fuse()])
    told = {
        "reference": reference.to_json(),
        "materials": str(materials.folder),
        "cache": str(place.folder / "缓存 cache"),
        "logs": str(place.folder / "other logs"),
        "recipe": recipe.to_json(),
    }
    command = [sys.executable, "-c", ANOTHER, json.dumps(told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        (ours,) = place.shop(reference, materials).prepare([recipe], LONG)
        theirs, _ = other.communicate(timeout=LONG)
    assert ours.ready, ours.preparation.reason
    assert theirs.split() == ["prepared", ours.folder.name, "True"]
    assert len(list((place.folder / "meeting").iterdir())) == 2
    assert [path.name for path in (place.folder / "缓存 cache").iterdir()] == [ours.folder.name]
    assert (ours.artefact / "weights.safetensors").exists()


DEEP = """
import torch
import strop
from strop.testing.models import Deep

def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 8, generator=generator) for _ in range(count)]

def workload():
    return strop.InferenceWorkload(
        model=Deep,
        inputs={"one row": rows(2, 1)},
        screening=strop.Split(inputs=rows(4, 2)),
        confirming=strop.Split(inputs=rows(4, 3)),
        training=strop.Split(inputs=rows(16, 4)),
    )
"""


def test_what_one_recipe_has_trained_is_there_for_all_that_train_alike(place: Any) -> None:
    reference = place.refer(DEEP)
    shop = place.shop(reference, place.opened(reference)[2])
    student, other = KnowledgeDistillation(steps=2), KnowledgeDistillation(steps=3)
    assert not shop.fitted(Recipe([student]))
    (prepared,) = shop.prepare([Recipe([student])], LONG)
    assert prepared.ready, prepared.preparation.reason
    assert shop.fitted(Recipe([student, MemoryLayout()])) and not shop.fitted(Recipe([other]))
