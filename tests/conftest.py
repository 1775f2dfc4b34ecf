"""What the tests of the verbs and of the command line share: a tiny workload, a plug-in that misbehaves, one whole run.

The run is made by the real command line, once per session: it is interrupted after its first trial, resumed, and read by
many tests, which copy it before they damage it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WORKLOAD = '''"""A deep, narrow network: PyTorch spends its time between layers, a runtime does not. Nine labels of ten hold."""

import torch
from torch import nn

import strop

DEPTH, WIDTH, CLASSES, BATCH = 40, 16, 4, 8


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.head(x)


def build():
    torch.manual_seed(0)
    return Deep().eval()


def inputs(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, WIDTH, generator=generator) for _ in range(count)]


def split(count, seed):
    examples, model = inputs(count, seed), build()
    with torch.no_grad():
        labels = model(torch.cat(examples)).argmax(-1)
    labels[::10] = (labels[::10] + 1) % CLASSES
    return strop.Split(inputs=examples, labels=list(labels.split(BATCH)))


def workload(**changes):
    settings = {
        "name": "deep and narrow",
        "model": build,
        "inputs": {"batch 8": inputs(8, 1)},
        "quality": strop.accuracy(),
        "calibration": split(10, 2),
        "screening": split(30, 3),
        "confirming": split(60, 4),
    }
    return strop.InferenceWorkload(**{**settings, **changes})
'''

ZOO = """

def not_a_workload():
    return 42


def raises():
    raise RuntimeError("planted in the function")


def leaves():
    raise SystemExit(0)


def model_raises():
    return workload(model=lambda: 1 / 0)


def not_a_model():
    return workload(model=lambda: 42)


class Wordy(Deep):
    def forward(self, x):
        return "yes"


def no_tensor():
    return workload(model=Wordy)


class Opaque(Deep):
    def forward(self, x):
        return {"logits": super().forward(x), "notes": object()}


def opaque():
    return workload(model=Opaque)


def misfit():
    return workload(inputs={"too wide": [torch.zeros(BATCH, WIDTH + 1)]})


def mixed():
    return workload(inputs={"batch 8": inputs(2, 1), "a row": [torch.zeros(WIDTH)]})


def words():
    return workload(inputs={"batch 8": ["hello"]})


def overlap():
    return workload(calibration=split(10, 4))


def peeking():
    return workload(screening=split(30, 4))


def empty():
    return workload(confirming=strop.Split(inputs=()))


def unlabelled():
    return workload(confirming=strop.Split(inputs=inputs(60, 4)))


def short():
    return workload(confirming=strop.Split(inputs=inputs(2, 4), labels=[0]))


def no_inputs():
    return workload(inputs={"batch 8": []})


class Moody(Deep):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)


def moody():
    return workload(model=lambda: Moody().eval())


def few(count=2, **changes):
    return workload(screening=split(count, 3), confirming=split(count, 4), **changes)
"""

FAULT = '''"""Misbehaves on purpose."""

import os
import time
from dataclasses import dataclass
from typing import final

import torch

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Instruction
from strop.contract.ties import Trait, ties


class Faulty(torch.nn.Module):
    def __init__(self, whole):
        super().__init__()
        self.whole = whole

    def forward(self, *args, **kwargs):
        answer = self.whole(*args, **kwargs)
        {act}
        return answer


@final
@dataclass(frozen=True, kw_only=True)
class {name}(Instruction):
    """Plant a fault that shows when the model is called."""

    card = Card(aims=frozenset({{Aim.LATENCY}}), fidelity=Fidelity.ROUNDING, prior=9.0)

    def ties(self):
        return ties(excludes=(Trait.ENGINE,))

    def at_freeze(self, draft, tally):
        tally.add("faults planted")
        draft.model = Faulty(draft.model)
'''

FAULTS = {
    "segfault": "import ctypes; ctypes.string_at(1)",
    "wrong": "answer = answer.flip(0)",
    "hang": "time.sleep(600)",
    "hog": "torch.empty(1 << 62, dtype=torch.uint8)",
    "leave": "os._exit(0)",
    "complain": "raise ValueError('planted')",
    "ragged": "answer = answer[:-1]",
    "nan": "answer = answer * float('nan')",
}
"""Instruction → what it does to the answer, in the process that measures; numbers from 90 on, in this order."""


TRAINING = '''"""A tiny training whose batches take long to put together."""

import time

import strop
from strop.testing.models import pad, sentences_workload

PAUSE = 0.012


def slow_pad(rows):
    time.sleep(PAUSE)
    return pad(rows)


def workload(**changes):
    return sentences_workload(**{"name": "tiny training", "collate": slow_pad, **changes})


def speed_only():
    return workload(metric=strop.unjudged("a test of speed"))


def long():
    """Judged on what it was trained on, so that training shows."""
    batch = pad(list(workload().data))
    return workload(epochs=12, confirming=strop.Split(inputs=[batch], labels=[batch["labels"]]))


def broken():
    return workload(loss=lambda outputs, batch: outputs.mean() / 0)
'''

TRAINING_CHANGE = '''"""Changes a training on purpose."""

import os
from dataclasses import dataclass
from typing import final

import torch

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Instruction
from strop.contract.ties import Trait, ties
from strop.testing.models import pad


def raising(text):
    def loss(outputs, batch):
        raise ValueError(text)

    return loss


@final
@dataclass(frozen=True, kw_only=True)
class {name}(Instruction):
    """Plant a change of the training."""

    card = Card(aims=frozenset({{Aim.THROUGHPUT}}), fidelity=Fidelity.{fidelity}, prior={prior})

    def ties(self):
        return ties(needs=(Trait.TRAINING,))

    def decline(self, draft, host):
        return {declines!r}

    def at_loop(self, draft, tally):
        plan = draft.training
        {act}
'''

QUICK = "plan.collate = pad; tally.add('collates', 1)"
TRAINING_CHANGES: dict[str, tuple[str, str, float, str | None]] = {
    "quick": (QUICK, "EXACT", 2.0, None),
    "placid": ("tally.add('nothing', 1)", "EXACT", 1.9, None),
    "frozen": (
        f"{QUICK}; plan.optimizer = lambda model: torch.optim.SGD(model.parameters(), lr=0.0)",
        "LOSSY",
        3.0,
        None,
    ),
    "raiser": ("plan.loss = raising('planted in the loss'); tally.add('faults', 1)", "EXACT", 1.8, None),
    "leaver": ("os._exit(7)", "EXACT", 1.7, None),
    "idle": ("pass", "EXACT", 1.6, None),
    "picky": ("pass", "EXACT", 1.5, "planted: it fits nobody"),
    "greedy": ("torch.empty(1 << 46, dtype=torch.uint8)", "EXACT", 1.4, None),
}
"""Instruction → what it does at LOOP, its fidelity, its prior and why it declines; numbers from 90 on, in this order."""


def pytest_configure() -> None:
    """One thread, before torch is imported: threads of tiny models take most of their time to wait for each other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True, kw_only=True)
class WholeRun:
    """A run that was interrupted once and then finished.

    Attributes:
        folder: the run directory.
        workload: its workload file.
        environment: what its processes were started with.
        interrupted: the first sitting.
        steps_then: step files of the first sitting.
        report_then: the report it left.
        left_behind: processes that outlived it.
        resumed: the second sitting, with ``--json``.
    """

    folder: Path
    workload: Path
    environment: dict[str, str]
    interrupted: subprocess.CompletedProcess[str]
    steps_then: dict[str, bytes]
    report_then: dict[str, Any]
    left_behind: list[int]
    resumed: subprocess.CompletedProcess[str]

    @property
    def steps(self) -> dict[str, bytes]:
        """Step files by name, as they are now."""
        return read_files(self.folder / "steps")


def read_files(folder: Path) -> dict[str, bytes]:
    """Return name → content of the files in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def strict_json(text: str) -> Any:
    """Read one JSON value; NaN and Infinity, which JSON does not have, are errors."""

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def processes_with(mark: str) -> list[int]:
    """Return the processes, except this one, that were started with ``mark`` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def run_strop(arguments: Sequence[object], environment: dict[str, str], **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "strop", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, **settings)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder and a cache of this test alone, and one thread: threads that wait for each other suffer most.

    The verbs are called in this process, which keeps its threads, its modules' paths and its way of ending.
    """
    import torch  # late: tests that need no place need not wait for it

    before, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # a workload's folder is put in front of it
    yield tmp_path
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """More threads than the one that opening an artefact, or these tests, may leave: only then does putting back show."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def python_path() -> Callable[[Path], str]:
    """Gives a ``PYTHONPATH`` on which a folder comes first."""
    return _before_the_rest


@pytest.fixture(scope="session")
def json_value() -> Callable[[str], Any]:
    """Reads exactly one JSON value."""
    return strict_json


@pytest.fixture(scope="session")
def strop_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own."""
    return run_strop


@pytest.fixture(scope="session")
def tiny_workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workload file below spaces and Chinese characters."""
    file = tmp_path_factory.mktemp("工作") / "a model 模型" / "deep 网络.py"
    file.parent.mkdir()
    file.write_text(WORKLOAD, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with many workloads that have something wrong; ``zoo.py:NAME`` is one of them."""
    file = tmp_path_factory.mktemp("zoo") / "zoo.py"
    file.write_text(WORKLOAD + ZOO, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def workload_text() -> str:
    """The text of the tiny workload."""
    return WORKLOAD


@pytest.fixture(scope="session")
def faults() -> dict[str, str]:
    """What the instructions of the faulty plug-in do, by name."""
    return FAULTS


def installed_plugin(place: Path, name: str, family: str, texts: dict[str, str]) -> Path:
    """Write a distribution with one instruction for each text, numbered from 90, as installing it would."""
    package = place / f"strop_{name}" / "instructions"
    (package / family).mkdir(parents=True)
    for folder in (package.parent, package, package / family):
        (folder / "__init__.py").write_text("")
    for number, (instruction, text) in enumerate(texts.items(), start=90):
        (package / family / f"i{number}_{instruction}.py").write_text(text)
    metadata = place / f"strop_{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: strop-{name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[strop.instructions]\n{name} = strop_{name}.instructions\n")
    return place


@pytest.fixture(scope="session")
def faulty_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``PYTHONPATH`` with an installed distribution whose instructions misbehave when they are measured."""
    texts = {name: FAULT.format(act=act, name=name.capitalize()) for name, act in FAULTS.items()}
    return installed_plugin(tmp_path_factory.mktemp("plugin"), "faulty", "inference", texts)


@pytest.fixture(scope="session")
def training_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``PYTHONPATH`` with an installed distribution whose instructions change a training in known ways."""
    texts = {
        name: TRAINING_CHANGE.format(act=act, name=name.capitalize(), fidelity=fidelity, prior=prior, declines=declines)
        for name, (act, fidelity, prior, declines) in TRAINING_CHANGES.items()
    }
    return installed_plugin(tmp_path_factory.mktemp("training plugin"), "planted", "training", texts)


@pytest.fixture(scope="session")
def training_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with training workloads: ``workload``, ``speed_only``, ``long``, ``broken``."""
    file = tmp_path_factory.mktemp("训练") / "a training.py"
    file.write_text(TRAINING, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory, tiny_workload: Path, faulty_plugin: Path) -> WholeRun:
    """Interrupt and resume a real run; a second one with other coins stands in should a busy machine spoil the first."""
    place = tmp_path_factory.mktemp("runs 运行")
    run = _interrupt_and_resume(place / "first", tiny_workload, faulty_plugin, seed=0)
    if run.resumed.returncode == 3:
        run = _interrupt_and_resume(place / "second", tiny_workload, faulty_plugin, seed=1)
    return run


def _interrupt_and_resume(folder: Path, workload: Path, plugin: Path, seed: int) -> WholeRun:
    mark = f"STROP_TEST_MARK={folder}"
    environment = {
        **os.environ,
        "PYTHONPATH": _before_the_rest(plugin),
        "STROP_CACHE": str(folder.parent / "cache"),
        "STROP_TEST_MARK": str(folder),
    }
    arguments = [
        "optimize", str(workload), "--only", "engine,segfault,wrong", "--max-drop", "2%", "--budget", "3m",
        "--seed", str(seed), "--out", str(folder),
    ]  # fmt: skip
    first = subprocess.Popen(
        [sys.executable, "-m", "strop", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hold_one_core,
    )
    limit = time.monotonic() + 120
    while not any((folder / "steps").glob("*trial*")) and first.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=120)
    steps, left_behind = read_files(folder / "steps"), processes_with(mark)
    report = strict_json((folder / "report.json").read_text(encoding="utf-8")) if (folder / "report.json").exists() else {}
    return WholeRun(
        folder=folder,
        workload=workload,
        environment=environment,
        interrupted=subprocess.CompletedProcess(arguments, first.returncode, out, err),
        steps_then=steps,
        report_then=report,
        left_behind=left_behind,
        resumed=run_strop([*arguments, "--resume", "--json"], environment, preexec_fn=_hold_one_core),
    )


def _before_the_rest(folder: Path) -> str:
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def _hold_one_core() -> None:
    """One core is all a run needs; and threads of one process that wait for each other suffer most from other work."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@pytest.fixture(scope="session")
def double_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that doubles rows of four, in calls of any number of rows."""
    import torch

    import strop

    place = tmp_path_factory.mktemp("bundles")
    before = os.environ.get("STROP_CACHE")
    os.environ["STROP_CACHE"] = str(place / "cache")
    try:
        model = torch.nn.Linear(4, 4, bias=False)
        model.weight.data = 2 * torch.eye(4)
        inputs = {"all": [torch.ones(2, 4), torch.ones(3, 4)]}
        workload = strop.InferenceWorkload(model=lambda: model, inputs=inputs, quality=strop.unjudged("a test"), name="double")
        strop.apply("strop: 1\ninstructions: {engine: {}}\n", workload, out=place / "double")
    finally:
        os.environ.pop("STROP_CACHE") if before is None else os.environ.update(STROP_CACHE=before)
    return place / "double"
