"""Inference where only an accelerator can show it. Run by hand where there is one: ``python -m pytest -m cuda``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import strop
from strop import engines
from strop.bundle import read_manifest
from strop.contract.draft import Draft
from strop.contract.engine import Program
from strop.contract.pytree import flatten, map_leaves
from strop.contract.recipe import Recipe
from strop.contract.signature import as_call
from strop.errors import PrepareError, WorkloadError
from strop.instructions.inference.i31_kernel_fusion import FOLD, KernelFusion
from strop.instructions.inference.i34_knowledge_distillation import KnowledgeDistillation
from strop.instructions.inference.i36_cuda_graph import CudaGraph
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer
from strop.measure.host import read_host
from strop.pipeline import Outcome, Preparation, opening, prepare, rebuild
from strop.testing.case import LawCase
from strop.testing.laws import Law, law_fidelity, law_idle, law_repeatable
from strop.testing.models import attention_draft, conv_draft, deep_draft, draft_for, mlp_draft
from strop.trial.materials import build_model
from strop.trial.target import ProgramTarget

pytestmark = pytest.mark.cuda

NAP = 400_000_000
"""Cycles that a planted kernel waits: some 0.2 s at 2 GHz, and more at a lower clock."""

GRAPHS = "strop: 1\ninstructions: {cuda_graph: {}}\n"
PLAIN = "strop: 1\n"


def moved(draft: Draft) -> Draft:
    """Put a draft where a trial of a workload with ``device="cuda"`` would have it."""
    draft.model.to("cuda")
    draft.examples = [map_leaves(lambda leaf: leaf.to("cuda"), example) for example in draft.examples]
    draft.workload = replace(draft.workload, device="cuda")
    return draft


def opened(make: Callable[[], Draft], recipe: Recipe, folder: Path) -> tuple[Preparation, Program]:
    draft = moved(make())
    done = prepare(draft, recipe, read_host(accelerators=True), folder)
    assert done.outcome is Outcome.PREPARED, done.reason
    engine = engines.get(done.engine)
    return done, engine.open(folder, draft.signature, opening(draft, recipe), lambda: rebuild(moved(make()), recipe))


def assert_answers(program: Program, make: Callable[[], Draft], tolerance: float = 1e-3) -> None:
    """Compare with the processor's answers to the draft's examples, given as tensors of the processor's memory."""
    draft = make()
    for args, kwargs in map(as_call, draft.examples):
        with torch.inference_mode():
            wanted = flatten(draft.model(*args, **kwargs))[0]
        got = flatten(program(*args, **kwargs))[0]
        for a, b in zip(wanted, got, strict=True):
            assert (b.device.type, b.dtype, b.shape) == ("cpu", a.dtype, a.shape)
            assert (a - b).abs().max() <= tolerance * a.abs().max()


@pytest.fixture(scope="module")
def card_file(tmp_path_factory: pytest.TempPathFactory, workload_text: str) -> Path:
    """The tiny workload's file with a function that asks for the accelerator."""
    file = tmp_path_factory.mktemp("card") / "deep.py"
    file.write_text(f"{workload_text}\n\ndef on_a_card():\n    return workload(device='cuda')\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, card_file: Path) -> Path:
    """The tiny workload with its launches captured."""
    folder = tmp_path_factory.mktemp("made") / "deep"
    strop.apply(GRAPHS, f"{card_file}:on_a_card", out=folder)
    return folder


@pytest.mark.parametrize("make", [mlp_draft, conv_draft, attention_draft])
def test_the_eager_engine_answers_as_the_processor_does(make: Callable[[], Draft], tmp_path: Path) -> None:
    _, program = opened(make, Recipe(), tmp_path)
    assert_answers(program, make)
    assert program.tensor_device == "cuda"


def test_arrays_come_back_in_the_kind_they_came_in(tmp_path: Path) -> None:
    _, program = opened(mlp_draft, Recipe(), tmp_path)
    x = torch.randn(3, 16)
    array, tensor, there = program(x.numpy()), program(x), program(x.cuda())
    assert isinstance(array, np.ndarray) and isinstance(tensor, Tensor) and there.device.type == "cpu"
    np.testing.assert_array_equal(array, tensor.numpy())


class Napping(nn.Module):
    """Starts a kernel that only sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            torch.cuda._sleep(NAP)  # type: ignore[no-untyped-call]
        answer: Tensor = self.layer(x)
        return answer


def napping_draft() -> Draft:
    torch.manual_seed(0)
    return draft_for(Napping(), [torch.ones(2, 4)])


@pytest.mark.parametrize("recipe", [Recipe(), Recipe([CudaGraph()])], ids=["plain", "graph"])
def test_a_call_is_timed_until_its_answer_is_there(recipe: Recipe, tmp_path: Path) -> None:
    _, program = opened(napping_draft, recipe, tmp_path)
    target = ProgramTarget(program, {"all": [((torch.ones(2, 4),), {})]})
    target.run("all", 0)
    begun = time.perf_counter()
    target.run("all", 0)
    assert time.perf_counter() - begun > 0.1


def test_tensors_are_counted_on_the_accelerator_and_those_of_a_graph_are_not(tmp_path: Path) -> None:
    call = ((torch.randn(4, 16),), {})
    _, plain = opened(mlp_draft, Recipe(), tmp_path / "plain")
    assert ProgramTarget(plain, {"all": [call]}).call("tensor_peak", {}) >= 4 * 64 * 4
    _, replayed = opened(mlp_draft, Recipe([CudaGraph()]), tmp_path / "graph")
    assert ProgramTarget(replayed, {"all": [call]}).call("tensor_peak", {}) is None


def test_graphs_answer_as_the_processor_does_at_every_shape_of_the_examples(tmp_path: Path) -> None:
    done, program = opened(attention_draft, Recipe([CudaGraph()]), tmp_path)
    assert done.tallies["cuda_graph"] == {"shapes beyond the bound": 0, "shapes captured": 8}
    assert program.compiled == 8, "before the first call"
    for _ in range(2):  # the second time nothing is new
        assert_answers(program, attention_draft)
    assert program.compiled == 8


def test_shapes_beyond_the_bound_are_answered_too_and_counted(tmp_path: Path) -> None:
    done, program = opened(attention_draft, Recipe([CudaGraph(shapes=3)]), tmp_path)
    assert done.tallies["cuda_graph"] == {"shapes beyond the bound": 5, "shapes captured": 3}
    assert_answers(program, attention_draft)
    assert program.compiled == 3
    assert program.tally.to_json() == {"calls beyond the bound": 5, "shapes captured": 3}  # type: ignore[attr-defined]


def test_a_shape_that_no_example_had_is_captured_when_it_comes(tmp_path: Path) -> None:
    _, program = opened(mlp_draft, Recipe([CudaGraph()]), tmp_path)
    before, x, model = program.compiled, torch.randn(7, 16), mlp_draft().model
    with torch.inference_mode():
        wanted = model(x)
    for _ in range(3):
        torch.testing.assert_close(program(x), wanted, rtol=1e-3, atol=1e-4)
    assert program.compiled == before + 1


def test_a_replayed_answer_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    _, program = opened(mlp_draft, Recipe([CudaGraph()]), tmp_path)
    one, other = torch.zeros(4, 16), torch.ones(4, 16)
    first = program(one)
    kept = first.clone()
    program(other)
    assert torch.equal(first, kept) and not torch.equal(first, program(other))


def card_draft() -> Draft:
    return moved(mlp_draft())


def nothing_to_capture() -> Draft:
    draft = card_draft()
    draft.examples = []
    return draft


CASE = LawCase(instruction=CudaGraph(), draft=card_draft, foreign=mlp_draft, idle=(CudaGraph(), nothing_to_capture))


@pytest.mark.parametrize("law", [law_fidelity, law_idle, law_repeatable], ids=lambda law: law.__name__)
def test_law_that_captures(law: Law, tmp_path: Path) -> None:
    law(CASE, tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("graph", [False, True], ids=["plain", "graph"])
def test_products_run_in_16_bits_there(dtype: Any, graph: bool, tmp_path: Path) -> None:
    recipe = Recipe([AmpOptimizer(dtype=dtype), *([CudaGraph()] if graph else [])])
    done, program = opened(mlp_draft, recipe, tmp_path)
    assert done.tallies["amp_optimizer"] == {f"operators in {dtype}": 2}
    assert_answers(program, mlp_draft, tolerance=3e-2)


def test_folding_and_the_layout_of_images_go_together_there(tmp_path: Path) -> None:
    done, program = opened(conv_draft, Recipe([KernelFusion(rules=FOLD), MemoryLayout(), CudaGraph()]), tmp_path)
    assert done.tallies["kernel_fusion"]["conv2d+bn"] > 0
    assert_answers(program, conv_draft)


def test_a_student_learns_there(tmp_path: Path) -> None:
    done, program = opened(deep_draft, Recipe([KnowledgeDistillation(epochs=1)]), tmp_path)
    assert done.tallies["knowledge_distillation"]["steps learned"] > 0
    assert program(torch.randn(4, 8)).shape == (4, 3)


def test_a_model_may_be_built_on_either_side_where_the_workload_says_cuda() -> None:
    for build in (lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4).cuda()):
        workload = strop.InferenceWorkload(
            model=build, inputs={"a": [torch.ones(1, 4)]}, quality=strop.unjudged("a test"), device="cuda"
        )
        assert build_model(workload, 0).weight.is_cuda


def test_a_model_there_whose_workload_does_not_say_so_is_told_to() -> None:
    workload = strop.InferenceWorkload(
        model=lambda: nn.Linear(4, 4).cuda(), inputs={"a": [torch.ones(1, 4)]}, quality=strop.unjudged("a test")
    )
    with pytest.raises(WorkloadError, match=r"on cuda:0, the workload on the processor\. Give InferenceWorkload"):
        build_model(workload, 0)


def live(model: nn.Module) -> strop.InferenceWorkload:
    rows = [torch.randn(4, 4) for _ in range(4)]
    return strop.InferenceWorkload(model=lambda: model, inputs={"a": rows}, quality=strop.unjudged("a test"), device="cuda")


def test_the_callers_own_model_stays_where_it_is(tmp_path: Path) -> None:
    net = nn.Linear(4, 4)
    strop.apply(PLAIN, live(net), out=tmp_path / "bundle")
    assert not net.weight.is_cuda and read_manifest(tmp_path / "bundle").device == "cuda"


UNFIT = """
import torch
import strop


class Looking(torch.nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


class Moody(torch.nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


def made(kind):
    rows = [torch.ones(4, 4) for _ in range(4)]
    return strop.InferenceWorkload(model=kind, inputs={"a": rows}, quality=strop.unjudged("a test"), device="cuda")


def looking():
    return made(Looking)


def moody():
    return made(Moody)
"""


@pytest.mark.parametrize(
    ("function", "told"),
    [("looking", "Looking cannot be captured in a CUDA graph: .* Leave cuda_graph out"), ("moody", "Moody answers otherwise")],
)
def test_what_cannot_be_captured_is_told_and_no_bundle_is_made(function: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "unfit.py").write_text(UNFIT)
    with pytest.raises(PrepareError, match=rf"failed to prepare: {told}"):
        strop.apply(GRAPHS, f"{tmp_path / 'unfit.py'}:{function}", out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_says_where_it_answers_and_answers_there(bundle: Path, card_file: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.device == "cuda" and manifest.tallies["cuda_graph"]["shapes captured"] > 0
    names: dict[str, Any] = {}
    exec(compile(card_file.read_text(encoding="utf-8"), "deep.py", "exec"), names)
    x = torch.randn(8, 16)
    with torch.inference_mode():
        wanted = names["build"]()(x)
    program = strop.open_bundle(bundle)
    torch.testing.assert_close(program(x), wanted, rtol=1e-3, atol=1e-4)
    program.close()


def run(bundle: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command, call = [sys.executable, "-m", "strop", "run", str(bundle)], json.dumps([[[0.5] * 16] * 8])
    return subprocess.run(command, input=call, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_run_answers_there_and_refuses_in_words_without_it(bundle: Path) -> None:
    done = run(bundle)
    assert done.returncode == 0 and np.shape(json.loads(done.stdout)) == (8, 4)
    without = run(bundle, CUDA_VISIBLE_DEVICES="")
    assert without.returncode != 0 and without.stdout == ""
    told = " ".join(without.stderr.split())
    assert "cuda is asked for, and torch finds no CUDA devices here" in told and "device='cpu'" in told


def test_serve_answers_there(bundle: Path) -> None:
    ports = ["--port", "0", "--grpc-port", "0", "--admin-port", "0"]
    command = [sys.executable, "-m", "strop", "serve", str(bundle), "--objective", "2s", *ports, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = next(event for event in map(json.loads, process.stdout) if event["name"] == "serve.ready")
        host, _, port = ready["url"].removeprefix("http://").rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        rows = {"name": "args_0", "shape": [8, 16], "datatype": "FP32", "data": [0.5] * 128}
        connection.request("POST", f"/v2/models/{ready['model']}/infer", json.dumps({"inputs": [rows]}))
        answer = connection.getresponse()
        got = np.reshape(json.loads(answer.read())["outputs"][0]["data"], (8, 4))
        program = strop.open_bundle(bundle)
        np.testing.assert_allclose(got, program(np.full((8, 16), 0.5, np.float32)), rtol=1e-4, atol=1e-5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_optimize_measures_there_and_says_so(card_file: Path, tmp_path: Path) -> None:
    chosen = "cuda_graph, amp_optimizer, dynamic_quantization"
    result = strop.optimize(f"{card_file}:on_a_card", budget="90s", only=chosen, out=tmp_path / "run")
    report, name = result.report, torch.cuda.get_device_name(0)
    graph = next(trial for trial in report.trials if trial.instructions == ("cuda_graph",))
    assert graph.screen and graph.status in ("kept", "faster", "no worthwhile gain", "slower", "undecided", "invalid")
    assert report.subject.detail.endswith(f"on {name} (cuda)") and name in report.host.accelerators
    assert not report.host.roofs and not report.diagnosis and not report.roofline
    assert "runs on the processor" in report.untried["28 dynamic_quantization"]
    assert (tmp_path / "run" / "report.html").exists()
    if result.bundle is not None:
        assert read_manifest(result.bundle).device == "cuda"
