"""Signatures: read off examples, widened where they vary, refused where examples disagree."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.signature import Signature, TensorSpec, as_call, call_leaves, infer_inputs, infer_signature
from strop.errors import WorkloadError


def ids(batch: int, length: int) -> dict[str, Any]:
    return {"input_ids": np.ones((batch, length), np.int64), "mask": np.ones((batch, length), np.float32)}


ANSWER = {"logits": np.zeros((1, 3), np.float32), "none": None}
SIGNATURE = infer_signature([ids(1, 4), ids(2, 7)], [ANSWER, {**ANSWER, "logits": np.zeros((2, 3), np.float32)}])


def test_an_example_is_read_as_the_arguments_of_a_call() -> None:
    x, y = np.ones(1), torch.zeros(1)
    assert as_call(x) == ((x,), {})
    assert as_call(y)[0][0] is y
    assert as_call((x, y))[0][1] is y and as_call([x, y])[0][1] is y
    assert as_call({"a": x}) == ((), {"a": x})


@pytest.mark.parametrize("example", ["text", 3, None, {1, 2}])
def test_what_is_no_example_is_refused_with_the_three_that_are(example: object) -> None:
    with pytest.raises(WorkloadError, match=f"is a {type(example).__name__}; give a tensor .* a tuple .* or a dict"):
        as_call(example)


def test_dimensions_that_vary_are_left_open_and_others_fixed() -> None:
    assert SIGNATURE.inputs == (
        TensorSpec(name="input_ids", dtype="int64", shape=(None, None)),
        TensorSpec(name="mask", dtype="float32", shape=(None, None)),
    )
    assert SIGNATURE.outputs == (TensorSpec(name="logits", dtype="float32", shape=(None, 3)),)


SHAPES = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=6)


@given(SHAPES, st.randoms())
def test_a_dimension_is_open_exactly_if_two_examples_differ_in_any_order(shapes: list[list[int]], random: Any) -> None:
    wanted = tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True))
    assert infer_inputs([np.zeros(shape) for shape in shapes])[0].shape == wanted
    random.shuffle(shapes)
    assert infer_inputs([np.zeros(shape) for shape in shapes])[0].shape == wanted


def test_positional_and_keyword_inputs_have_names() -> None:
    assert [spec.name for spec in infer_inputs([(np.ones(1), [np.ones(2), np.ones(3)])])] == ["args_0", "args_1_0", "args_1_1"]
    assert [spec.name for spec in infer_inputs([{"pixel values": np.ones(1)}])] == ["pixel values"]
    assert infer_signature([np.ones(1)], [(np.ones(1), np.ones(1))]).outputs[1].name == "1"
    assert infer_signature([np.ones(1)], [np.ones(1)]).outputs[0].name == "output"


def test_torch_and_numpy_examples_give_the_same_signature() -> None:
    pair = [{"x": np.zeros((n, 3), np.float32)} for n in (1, 2)]
    other = [{"x": torch.zeros(n, 3)} for n in (1, 2)]
    assert infer_inputs(pair) == infer_inputs(other)


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([np.ones(1, np.float32), np.ones(1, np.float64)], r"args_0 is float64\[1\] in example 2 but float32\[1\] before"),
        ([np.ones(1), np.ones(1), np.ones((1, 1))], r"float64\[1, 1\] in example 3 .* number of dimensions"),
        ([{"a": np.ones(1)}, {"b": np.ones(1)}], "inputs: example 2 differs in structure"),
        ([{"a": np.ones(1), "k": 3}, {"a": np.ones(1), "k": 4}], "example 2 differs in structure or constants"),
        ([np.ones(1), (np.ones(1), np.ones(1))], "example 2 differs in structure"),
        ([{"a": np.ones(1), "f": {1}}], "is a set"),
    ],
)
def test_examples_that_disagree_are_refused_by_number(examples: list[Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        infer_inputs(examples)


def test_answers_that_disagree_or_hold_nothing_are_refused() -> None:
    with pytest.raises(WorkloadError, match="outputs: example 2 differs"):
        infer_signature([np.ones(1)] * 2, [{"a": np.ones(1)}, {"a": None}])
    with pytest.raises(WorkloadError, match="holds no tensor; return a tensor"):
        infer_signature([np.ones(1)], [{"loss": 1.0}])


@pytest.mark.parametrize(
    "signature",
    [
        SIGNATURE,
        infer_signature([(np.ones(1), 3, {"größe 大": [np.ones((2, 2)), True, None]})], [np.ones(1)]),
        infer_signature([np.float32(1)], [np.float32(1)]),
    ],
)
def test_a_signature_survives_json(signature: Signature) -> None:
    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature


def test_the_arrays_of_a_call_come_in_the_order_of_the_signature() -> None:
    call = ids(3, 5)
    leaves = call_leaves(((), {"mask": call["mask"], "input_ids": call["input_ids"]}), SIGNATURE)
    assert leaves[0] is call["input_ids"] and leaves[1] is call["mask"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (((), {"input_ids": np.ones(1)}), r"\['input_ids'\] came, \['input_ids', 'mask'\] were expected"),
        (((), {**ids(1, 1), "extra": 1}), "'extra'"),
        (((np.ones(1),), ids(1, 1)), "do not have the structure"),
        (((), {"input_ids": [np.ones(1)], "mask": np.ones(1)}), r"prepared for: input_ids int64\[None, None\], mask float32"),
        (((), {"input_ids": 3, "mask": np.ones(1)}), "do not have the structure"),
    ],
)
def test_a_call_that_does_not_fit_says_what_was_expected(call: Any, words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        call_leaves(call, SIGNATURE)
