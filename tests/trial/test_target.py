"""What an arm's process runs: opened artefacts that answer as the original did, in the original's structure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop.catalogue import read_recipe
from strop.contract.draft import Facts
from strop.contract.engine import Program
from strop.contract.examples import read_examples, write_examples
from strop.contract.pytree import Record, flatten, to_numpy
from strop.contract.recipe import Recipe
from strop.errors import ArtefactError, RecipeError
from strop.trial.target import ProgramTarget, open_target

STRUCTURES = """
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
import torch
from torch import Tensor, nn
import strop

@dataclass
class Data:
    logits: Tensor
    hidden: Tensor
    loss: None = None

class Named(NamedTuple):
    logits: Tensor
    hidden: Tensor

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(6, 6)

    def forward(self, x):
        hidden = torch.relu(self.layer(x))
        logits = hidden * 2 + 1
        return {
            "tensor": lambda: logits,
            "dictionary": lambda: {"logits": logits, "hidden": hidden},
            "dataclass": lambda: Data(logits, hidden),
            "named_tuple": lambda: Named(logits, hidden),
            "nested": lambda: (logits, [hidden, (logits.sum(-1), None)], {"deep": hidden[:, 0] > 0}),
        }[self.kind]()

def rows(count, seed, batch):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 6, generator=generator) for _ in range(count)]

def build(kind):
    return strop.InferenceWorkload(
        model=partial(Net, kind),
        inputs={"single": rows(3, 1, 1), "五 five": rows(2, 2, 5)},
        screening=strop.Split(inputs=rows(6, 3, 2)),
        confirming=strop.Split(inputs=rows(3, 4, 2)),
    )

tensor, dictionary, dataclass_, named_tuple, nested = map(
    lambda kind: partial(build, kind), ("tensor", "dictionary", "dataclass", "named_tuple", "nested")
)
"""


@pytest.fixture
def opened(place: Any) -> Any:
    """Prepare the original of a structure, open it, and return the target with what it should answer."""

    def build(structure: str) -> SimpleNamespace:
        reference = place.refer(STRUCTURES, function=structure)
        workload, model, materials = place.opened(reference)
        shop = place.shop(reference, materials)
        spec = shop.arm(shop.prepare_original(workload, model), "baseline")
        told = json.loads(json.dumps(dict(spec.arguments)))  # as a worker receives it
        return SimpleNamespace(
            target=open_target(told), told=told, model=model, workload=workload, materials=materials, folder=place.folder
        )

    return build


def evaluated(scene: SimpleNamespace, first: int | None = None) -> list[Any]:
    answers = scene.folder / "答 answers.safetensors"
    told = {"inputs": str(scene.materials.split_file("screening")), "answers": str(answers), "first": first}
    done = scene.target.call("evaluate", told)
    found = read_examples(answers)
    assert done["inputs"] == len(found)
    assert done["seconds"] > 0
    return found


def wanted(scene: SimpleNamespace, inputs: Any) -> list[list[np.ndarray[Any, Any]]]:
    with torch.inference_mode():
        return [[to_numpy(leaf) for leaf in flatten(scene.model(x))[0]] for x in inputs]


@pytest.mark.parametrize("structure", ["tensor", "dictionary", "dataclass_", "named_tuple", "nested"])
def test_answers_of_any_structure_come_back_from_the_disk(structure: str, opened: Any) -> None:
    scene = opened(structure)
    found = evaluated(scene)
    assert len(found) == 6
    for got, want in zip(found, wanted(scene, scene.workload.screening.inputs), strict=True):
        leaves, _ = flatten(got)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(leaves, want, strict=True))
    first = found[0]
    if structure == "nested":
        logits, (hidden, (total, nothing)), more = first
        assert (logits.shape, hidden.shape, total.shape, nothing) == ((2, 6), (2, 6), (2,), None)
        assert more["deep"].dtype == bool
    elif structure == "tensor":
        assert first.shape == (2, 6)
    else:
        assert isinstance(first, Record) == (structure != "dictionary")
        assert list(first)[:2] == ["logits", "hidden"]
        if structure != "dictionary":
            assert np.array_equal(first.logits, first[0])


def test_a_part_of_the_inputs_can_be_asked(opened: Any) -> None:
    scene = opened("tensor")
    assert [len(evaluated(scene, first)) for first in (2, 0, None, 99)] == [2, 6, 6, 6]
    assert all(np.array_equal(a, b) for a, b in zip(evaluated(scene, 2), evaluated(scene), strict=False))


def test_points_runs_digests_and_shapes(opened: Any) -> None:
    scene = opened("dictionary")
    target = scene.target
    assert target.points == {"single": 3, "五 five": 2}
    for point, count in target.points.items():
        for index in range(count):
            target.run(point, index)
    assert target.shapes("五 five", 1) == [[5, 6], [5, 6]]
    digests = {target.digest(point, index) for point, count in target.points.items() for index in range(count)}
    assert len(digests) == 5
    assert target.digest("single", 0) == open_target(scene.told).digest("single", 0)
    with pytest.raises(KeyError, match="nowhere"):
        target.run("nowhere", 0)
    target.close()


class Fixed:
    """A program that answers what it is given; only its answer matters here."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, *_: Any) -> Any:
        return self.answer

    def close(self) -> None:
        self.answer = None


@pytest.mark.parametrize(
    "other",
    [
        np.arange(4, dtype=np.float32).reshape(4, 1),
        np.arange(4, dtype=np.float32).view(np.int32).reshape(1, 4),
        {"a": np.arange(4, dtype=np.float32).reshape(1, 4)},
        [np.arange(2, dtype=np.float32), np.arange(2, 4, dtype=np.float32)],
    ],
    ids=["shape", "dtype", "structure", "split"],
)
def test_a_digest_tells_shape_dtype_and_structure_apart(other: Any) -> None:
    digests = {
        ProgramTarget(Fixed(answer), {"p": [((), {})]}).digest("p", 0)  # type: ignore[arg-type]
        for answer in (np.arange(4, dtype=np.float32).reshape(1, 4), other)
    }
    assert len(digests) == 2


def test_an_unknown_method_is_told(opened: Any) -> None:
    with pytest.raises(ValueError, match="a program target has no method 'evalute'"):
        opened("tensor").target.call("evalute", {})


def test_the_original_can_be_diagnosed_where_it_runs(opened: Any) -> None:
    scene = opened("tensor")
    facts = asdict(scene.materials.facts)
    said = scene.target.call("diagnose", {"roofs": {"gemm_float32": 1e11, "read": 1e10}, "facts": facts})
    assert [point["point"] for point in said["points"]] == ["single", "五 five"]
    assert Facts(**facts).parameters == 42
    json.dumps(said)


def test_the_tensors_that_one_call_holds_are_read_where_torch_works(opened: Any) -> None:
    """The largest call holds at least its own answer: five rows of six float32 numbers, twice."""
    assert opened("dictionary").target.call("tensor_peak", {}) >= 2 * 5 * 6 * 4


def test_an_unknown_engine_and_a_damaged_artefact_are_told(opened: Any, tmp_path: Path) -> None:
    told = opened("tensor").told
    with pytest.raises(RecipeError, match=r"there is no engine 'eagre'\. Did you mean 'eager'\?"):
        open_target({**told, "engine": "eagre"})
    with pytest.raises(ArtefactError, match="is missing or damaged"):
        open_target({**told, "artefact": str(tmp_path)})


WITHOUT_TORCH = """
import json, sys
from pathlib import Path
from strop.trial.target import open_target

told, inputs, answers = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2], sys.argv[3]
target = open_target(told)
for point in target.points:
    target.run(point, 0)
shapes = target.shapes("五 five", 0)
print(json.dumps([target.call("evaluate", {"inputs": inputs, "answers": answers, "first": 4}), shapes]))
assert target.digest("single", 0) == target.digest("single", 0) != target.digest("single", 1)
assert target.call("tensor_peak", {}) is None
target.close()
assert "torch" not in sys.modules, "torch was imported"
assert "strop_workload" not in " ".join(sys.modules), "the workload's code was imported"
"""


@pytest.fixture(scope="module")
def lowered(kit: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A nested answer lowered by both engines that open without torch, side by side."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("lowered")
        patch.setenv("STROP_CACHE", str(base / "用户 cache"))
        patch.setattr(sys, "path", list(sys.path))
        place = kit.Place(base)
        reference = place.refer(STRUCTURES, function="nested")
        workload, model, materials = place.opened(reference)
        shop = place.shop(reference, materials)
        names = ("onnxruntime", "openvino")
        recipes = [read_recipe(f"strop: 1\ninstructions: {{model_serving_framework: {{engine: {name}}}}}") for name in names]
        done = dict(zip(names, shop.prepare(recipes, 300), strict=True))
        yield SimpleNamespace(shop=shop, done=done, workload=workload, model=model, materials=materials, folder=place.folder)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_process_that_answers_without_torch_does_not_import_it(engine: str, lowered: SimpleNamespace, tmp_path: Path) -> None:
    prepared = lowered.done[engine]
    assert prepared.ready, prepared.preparation.reason
    assert prepared.preparation.engine == engine
    told, answers = tmp_path / "told.json", tmp_path / "答 answers.safetensors"
    told.write_text(json.dumps(dict(lowered.shop.arm(prepared, "candidate").arguments)), encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(told), str(lowered.materials.split_file("screening")), str(answers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said, shapes = json.loads(done.stdout)
    assert said["inputs"] == 4
    assert len(shapes) == 4
    found = read_examples(answers)
    for got, want in zip(found, wanted(lowered, lowered.workload.screening.inputs[:4]), strict=True):
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(flatten(got)[0], want, strict=True))
    assert found[0][1][1][1] is None


def test_inputs_without_torch_are_answered_in_a_process_that_has_it(lowered: SimpleNamespace, tmp_path: Path) -> None:
    """The same artefact opened beside torch gives the same answers."""
    target = open_target(dict(lowered.shop.arm(lowered.done["onnxruntime"], "candidate").arguments))
    write_examples(tmp_path / "in.safetensors", list(lowered.workload.confirming.inputs))
    target.call("evaluate", {"inputs": str(tmp_path / "in.safetensors"), "answers": str(tmp_path / "out.safetensors")})
    for got, want in zip(
        read_examples(tmp_path / "out.safetensors"), wanted(lowered, lowered.workload.confirming.inputs), strict=True
    ):
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(flatten(got)[0], want, strict=True))
    assert lowered.done["onnxruntime"].recipe != Recipe()


def test_what_a_timed_call_left_behind_can_be_asked_for_and_fresh_inputs_are_made_outside_the_clock() -> None:
    def program(ids: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], x: np.ndarray[Any, Any]) -> Any:
        seen.append((ids.copy(), mask.copy(), x.copy()))
        return {"sum": ids * mask + x.sum()}

    seen: list[Any] = []
    program.compiled = 3  # type: ignore[attr-defined]
    call = ((np.array([[5, 6, 7, 0]]), np.array([[1, 1, 1, 0]]), np.array([1.0, 2.0])), {})
    target = ProgramTarget(program, {"p": [call]})  # type: ignore[arg-type, dict-item]
    target.run("p", 0)
    assert target.answer_digest() == target.digest("p", 0) and target.compile_events() == 3
    target.make_variants("p", 0, range(1, 6))
    del seen[:]
    for variant in range(1, 6):
        target.run_variant("p", 0, variant)
    assert len({(ids.tobytes(), x.tobytes()) for ids, _, x in seen}) == 5, "each is another input"
    for ids, mask, x in seen:
        assert sorted(ids[0]) == [0, 5, 6, 7] and ids[0][3] == 0 and mask.tolist() == [[1, 1, 1, 0]], "padding stays padding"
        assert ids.dtype == np.int64 and np.allclose(x, [1.0, 2.0], rtol=0.01) and not np.array_equal(x, [1.0, 2.0])


@pytest.mark.parametrize(("device", "counted"), [("cuda:1", 7), (None, None)])
def test_tensors_are_counted_where_the_program_says_that_they_are(
    device: str | None, counted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Elsewhere(Program):
        @property
        def tensor_device(self) -> str | None:
            return device

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return args[0]

    monkeypatch.setattr("strop.measure.memory.tensor_peak", lambda call, where: asked.append(where) or 7)
    target = ProgramTarget(Elsewhere(), {"a": [((np.ones(3),), {})]})
    assert target.call("tensor_peak", {}) == counted and asked == ([device] if device else [])
