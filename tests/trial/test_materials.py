"""A workload's data on disk: complete, fitting, and disjoint; or refused with what came and where."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import strop
from strop.contract.examples import read_examples
from strop.errors import WorkloadError
from strop.trial.materials import Materials, build_model, data_digest, draft_for, materialise

Example = Any


class Answers(nn.Module):
    """Gives whatever it was told to give."""

    def __init__(self, answer: object = None) -> None:
        super().__init__()
        self.layer, self.answer = nn.Linear(4, 2), answer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x) if self.answer is None else self.answer


def rows(count: int, seed: int, batch: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 4, generator=generator) for _ in range(count)]


def workload(net: nn.Module | None = None, **changed: Any) -> strop.InferenceWorkload:
    fields: dict[str, Any] = {
        "model": lambda: net or Answers(),
        "inputs": {"one": rows(3, 1), "许多 many": [*rows(1, 2, 8), *rows(1, 2, 2)]},
        "calibration": strop.Split(inputs=rows(3, 3)),
        "screening": strop.Split(inputs=rows(4, 4)),
        "confirming": strop.Split(inputs=rows(5, 5)),
    }
    return strop.InferenceWorkload(**{**fields, **changed})


def written(load: strop.InferenceWorkload, folder: Path) -> Materials:
    return materialise(load, build_model(load, 0), folder / "材料 data")


def test_every_process_reads_the_same_bytes(tmp_path: Path) -> None:
    load = workload()
    materials = Materials(written(load, tmp_path).folder)
    assert materials.points == ("one", "许多 many")
    for point, inputs in load.inputs.items():
        assert_same(read_examples(materials.point_file(point)), inputs)
    for name, split in load.splits.items():
        assert_same(read_examples(materials.split_file(name)), split.inputs)
    assert materials.facts.parameters == 10
    assert materials.facts.points == {"one": 3, "许多 many": 2}
    assert not materials.facts.dynamic, "its batches differ, which is not a length"
    (given,), (answer,) = materials.signature.inputs, materials.signature.outputs
    assert (given.dtype, given.shape, answer.shape) == ("float32", (None, 4), (None, 2))


def assert_same(read: list[Any], given: Any) -> None:
    assert len(read) == len(given)
    for left, right in zip(read, given, strict=True):
        assert np.array_equal(left, right.numpy())


def test_a_draft_holds_torch_examples_with_the_largest_first(tmp_path: Path) -> None:
    load = workload()
    materials = written(load, tmp_path)
    draft = materials.draft(load, build_model(load, 0), seed=5)
    assert [example.shape[0] for example in draft.examples] == [8, 2, 1, 1, 1]
    assert all(isinstance(example, Tensor) for example in draft.examples)
    assert (draft.seed, draft.signature, draft.facts) == (5, materials.signature, materials.facts)
    assert draft_for(load, draft.model, draft.signature, seed=1).examples == []


def test_the_signature_covers_inputs_that_only_the_splits_hold(tmp_path: Path) -> None:
    fixed = workload(inputs={"one": rows(2, 1)}, screening=strop.Split(inputs=rows(3, 4, batch=7)))
    assert written(fixed, tmp_path).signature.inputs[0].shape == (None, 4)


def test_a_models_seed_decides_its_weights_and_it_is_in_eval_mode() -> None:
    load = workload()
    one, same, other = (build_model(load, seed).layer.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not build_model(workload(nn.Dropout().train()), 0).training


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: 1 / 0, "model() of the workload failed: ZeroDivisionError: division by zero"),
        (lambda: None, "model() of the workload gave a NoneType; a torch.nn.Module was expected."),
        (lambda: nn.Linear, "model() of the workload gave a type; a torch.nn.Module was expected."),
        (lambda: torch.relu, "gave a builtin_function_or_method; a torch.nn.Module was expected."),
    ],
)
def test_a_model_that_cannot_be_built_is_told(model: Any, words: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        build_model(workload(model=model), 0)
    assert words in str(caught.value)


DOUBLE = [torch.zeros(1, 4, dtype=torch.float64)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"inputs": {"one": rows(2, 1), "许多 many": [torch.zeros(2, 5)]}},
            "the model failed on an example input of '许多 many': RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        ),
        ({"inputs": {"one": [{"y": torch.zeros(1, 4)}]}}, "the model failed on an example input of 'one': TypeError"),
        ({"inputs": {"one": [(torch.zeros(1, 4), 3)]}}, "the model failed on an example input of 'one': TypeError"),
        ({"inputs": {"one": ["a sentence"]}}, "an example input is a str; give a tensor (one argument), a tuple"),
        ({"inputs": {"one": [(torch.zeros(1, 4), {1, 2})]}}, "value[1] is a set; tensors, numbers, strings, None"),
        ({"screening": strop.Split(inputs=[*rows(2, 4), *DOUBLE])}, "input 2 of the screening split does not fit"),
        ({"screening": strop.Split(inputs=[*rows(2, 4), *DOUBLE])}, "is float64[1, 4] in example 2 but float32[1, 4] before"),
        ({"confirming": strop.Split(inputs=[torch.zeros(4)])}, "input 0 of the confirming split does not fit"),
        ({"calibration": strop.Split(inputs=[{"x": torch.zeros(1, 4)}])}, "input 0 of the calibration split does not fit"),
        ({"inputs": {"one": rows(2, 1), "b": [*rows(1, 2), *[{"x": r} for r in rows(1, 3)], *rows(1, 4)]}}, "input 1 of 'b'"),
    ],
)
def test_inputs_that_do_not_fit_are_told_with_their_place(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        written(workload(**changed), tmp_path)
    assert words in str(caught.value)
    assert not (tmp_path / "材料 data" / "materials.json").exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("a label", "the model's answer holds no tensor; return a tensor, or a dict, dataclass or tuple of tensors"),
        ([0.25, 0.75], "the model's answer holds no tensor"),
        ({}, "the model's answer holds no tensor"),
        ({"logits": {1, 2}}, "value.logits is a set; tensors, numbers, strings, None, and dicts, dataclasses"),
        (object(), "value is a object; tensors"),
    ],
)
def test_answers_without_tensors_are_refused(answer: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        written(workload(Answers(answer)), tmp_path)
    assert words in str(caught.value)


class Moody(nn.Module):
    """Answers in another structure for large batches."""

    def forward(self, x: Tensor) -> Any:
        return x if len(x) == 1 else {"x": x}


def test_answers_that_change_their_structure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"outputs: example \d differs in structure or constants from example 1"):
        written(workload(Moody()), tmp_path)


def planted(*, at: int, example: Example, base: list[Tensor]) -> strop.Split:
    return strop.Split(inputs=[*base[:at], example, *base[at:]])


SHARED = torch.arange(4.0)[None]


@pytest.mark.parametrize("form", [SHARED, (SHARED.clone(),), [SHARED.numpy()]], ids=["tensor", "tuple", "list of numpy"])
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("calibration", "screening", "input 3 of the screening split is also input 2 of the calibration split"),
        ("calibration", "confirming", "input 3 of the confirming split is also input 2 of the calibration split"),
        ("screening", "confirming", "input 3 of the confirming split is also input 2 of the screening split"),
        ("confirming", "training", "input 3 of the training split is also input 2 of the confirming split"),
    ],
)
def test_data_that_calibrates_or_trains_must_not_judge(
    first: str, second: str, words: str, form: Example, tmp_path: Path
) -> None:
    splits = {first: planted(at=2, example=SHARED, base=rows(4, 6)), second: planted(at=3, example=form, base=rows(4, 7))}
    with pytest.raises(WorkloadError) as caught:
        written(workload(**splits), tmp_path)
    assert words in str(caught.value)
    assert "must be disjoint from data that judges. Remove it from one of them" in str(caught.value)


def test_the_same_input_twice_in_one_split_is_no_overlap(tmp_path: Path) -> None:
    assert written(workload(screening=strop.Split(inputs=[SHARED, SHARED])), tmp_path).facts.splits["screening"] == 2


def test_the_digest_of_the_data_sees_every_bit() -> None:
    base = data_digest(workload())
    assert data_digest(workload()) == base
    nudged = rows(4, 4)
    nudged[3][0, 3] = torch.nextafter(nudged[3][0, 3], torch.tensor(9.0))
    changes = [
        {"screening": strop.Split(inputs=nudged)},
        {"screening": strop.Split(inputs=rows(3, 4))},
        {"inputs": {"ONE": rows(3, 1), "许多 many": [*rows(1, 2, 8), *rows(1, 2, 2)]}},
        {"calibration": strop.Split(inputs=())},
        {"training": strop.Split(inputs=rows(1, 9))},
    ]
    assert len({base, *(data_digest(workload(**change)) for change in changes)}) == 6


def test_the_digest_of_the_data_sees_the_labels_from_which_artefacts_are_made() -> None:
    """They may come from a table beside the workload's code, and a student that learned from others must not be found again."""

    def labelled(labels: Any, split: str = "training") -> str:
        return data_digest(workload(**{split: strop.Split(inputs=rows(3, 9), labels=labels)}))

    kinds: list[Any] = [None, [0, 1, None], [0, 1, 0], [0.0, 1.0, 0.5], ["a", "b", "a"], [np.array([0]), np.array([1]), None]]
    kinds.append([{"boxes": torch.zeros(2, 4)}, {"boxes": torch.ones(2, 4)}, {"boxes": torch.zeros(0, 4)}])
    kinds += [[Path("a"), Path("b"), None], [Path("a"), Path("c"), None], [torch.zeros(1).to(torch.float8_e4m3fn), None, None]]
    digests = [labelled(labels, split) for labels in kinds for split in ("training", "calibration")]
    assert digests == [labelled(labels, split) for labels in kinds for split in ("training", "calibration")]
    assert len(set(digests)) == len(digests)
    judged = [labelled([0, 1, label], "screening") for label in (0, 1)]
    assert judged[0] == judged[1], "no artefact comes out of what judges it"


class Odd(nn.Module):
    """State of every kind that a model may carry."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("scale", torch.ones(3, 3).t().to(torch.float8_e4m3fn))
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("nothing", torch.empty(0, 3, dtype=torch.bfloat16))
        self.register_buffer("places", torch.eye(2).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


@pytest.mark.parametrize("changed", ["layer.bias", "scale", "steps"])
def test_what_artefacts_depend_on_includes_the_weights(changed: str, tmp_path: Path) -> None:
    """A model folder that was trained further keeps its path; its artefacts must not be found again."""
    model = Odd().eval()
    before = materialise(workload(), model, tmp_path / "a").index["data"]
    assert materialise(workload(), model, tmp_path / "b").index["data"] == before
    value = model.state_dict()[changed]
    value.copy_(value.float() + 1)
    assert materialise(workload(), model, tmp_path / "c").index["data"] != before


class Moved(Answers):
    """Says that it lies on an accelerator, which it may on a machine without one."""

    def buffers(self, recurse: bool = True) -> Any:
        return iter([SimpleNamespace(device=torch.device("cuda:0"))])


def test_a_model_on_an_accelerator_is_told_to_say_so() -> None:
    with pytest.raises(WorkloadError, match=r"model\(\) of the workload is on cuda:0, .* Give InferenceWorkload\(device='cuda'"):
        build_model(workload(Moved()), 0)


def test_a_device_that_is_not_here_is_refused_before_the_model_is_built() -> None:
    def build() -> nn.Module:
        raise AssertionError("no work before it is known")

    with pytest.raises(
        WorkloadError, match=r"cuda:97 is asked for, and torch finds .* Give InferenceWorkload\(device=…\) one that"
    ):
        build_model(workload(model=build, device="cuda:97"), 0)


class Narrow(nn.Module):
    """Computes and answers in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.bfloat16())
        return out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2], ids=str)
def test_inputs_of_a_dtype_that_numpy_lacks_are_refused_with_their_place_and_the_remedy(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    """On disk they would become float32, with which every later process would call the model."""
    there = [*rows(1, 8), *[row.to(dtype) for row in rows(1, 9)]]
    for changed, where in (
        ({"inputs": {"许多 many": there}}, "input 1 of '许多 many'"),
        ({"inputs": {"one": [{"x": row} for row in there]}}, "input 1 of 'one'"),
        ({"calibration": strop.Split(inputs=there)}, "input 1 of the calibration split"),
        ({"training": strop.Split(inputs=there)}, "input 1 of the training split"),
    ):
        with pytest.raises(WorkloadError) as caught:
            written(workload(Narrow(), **changed), tmp_path)
        assert f"{where} holds {dtype}, which numpy" in str(caught.value)
        assert f"Give it as float32 and cast it inside the model, for instance with x.to({dtype})" in str(caught.value)


def test_answers_in_bfloat16_are_taken(tmp_path: Path) -> None:
    (answer,) = written(workload(Narrow()), tmp_path).signature.outputs
    assert answer.dtype == "float32"


def test_where_the_model_answers_is_on_record(tmp_path: Path) -> None:
    assert written(workload(), tmp_path).index["device"] == "cpu"
