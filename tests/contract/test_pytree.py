"""Trees of arrays: taken apart, described in JSON, put together again."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.pytree import Record, flatten, is_leaf, leaf_names, map_leaves, to_numpy, unflatten
from strop.errors import WorkloadError


class Point(NamedTuple):
    """A named tuple as models return it."""

    x: Any
    y: Any


@dataclasses.dataclass
class Answer:
    """A structured output."""

    logits: Any
    hidden: Any = None


class Output(OrderedDict[str, Any]):
    """A mapping of a class of its own, as model outputs are."""


CONSTANTS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5)
LEAVES = st.integers(0, 99).map(lambda value: np.full((2,), value))
TREES = st.recursive(
    CONSTANTS | LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and np.array_equal(left, right)
    if isinstance(left, dict):
        return type(left) is type(right) and list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@given(TREES)
def test_a_tree_comes_back_from_its_leaves_and_its_description_in_json(tree: Any) -> None:
    leaves, spec = flatten(tree)
    assert same(unflatten(json.loads(json.dumps(spec)), leaves), tree)


@given(TREES)
def test_there_is_one_name_for_each_leaf_and_one_leaf_for_each_index(tree: Any) -> None:
    leaves, spec = flatten(tree)
    assert len(leaf_names(spec)) == len(leaves)
    numbers = unflatten(spec, list(range(len(leaves))))
    assert flatten(map_leaves(lambda _: np.zeros(1), tree))[1] == spec
    assert [int(n) for n in _numbers(numbers, spec)] == list(range(len(leaves)))


def _numbers(value: Any, spec: dict[str, Any]) -> list[Any]:
    if spec["kind"] == "leaf":
        return [value]
    if spec["kind"] == "constant":
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [n for v, s in zip(inner, spec["children"], strict=True) for n in _numbers(v, s)]


@pytest.mark.parametrize(
    "tree",
    [
        Answer(np.ones(2), Point(np.zeros(1), "text")),
        Output(logits=np.ones(2), hidden=Point(x=np.zeros(1), y="text")),
        Point(np.ones(2), Answer(np.zeros(1), "text")),
    ],
    ids=["dataclass", "mapping", "named tuple"],
)
def test_structured_answers_become_records_read_by_name_attribute_and_place(tree: Any) -> None:
    leaves, spec = flatten(tree)
    got = unflatten(json.loads(json.dumps(spec)), leaves)
    assert isinstance(got, Record)
    first = next(iter(got))
    assert got[first] is got[0] is getattr(got, first) is leaves[0]
    inner = got[1]
    assert isinstance(inner, Record) and inner[-1] == "text" and inner[:1] == (leaves[1],)


def test_a_record_names_its_fields_when_asked_for_another() -> None:
    record = Record(logits=1, hidden=2)
    with pytest.raises(AttributeError, match="no field 'logit'; fields: logits, hidden"):
        _ = record.logit
    with pytest.raises(KeyError):
        record["logit"]
    assert dict(record) == {"logits": 1, "hidden": 2}


def test_a_plain_dict_stays_a_dict() -> None:
    leaves, spec = flatten({"b": np.ones(1), "a": np.zeros(1)})
    got = unflatten(spec, leaves)
    assert type(got) is dict and list(got) == ["b", "a"]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": [np.ones(1), {1, 2}]}, r"value\.a\[1\] is a set"),
        (lambda: 0, "value is a function"),
        ((np.ones(1), b"raw"), r"value\[1\] is a bytes"),
        (Answer(logits=3j), r"value\.logits is a complex"),
        (Answer, "value is a type"),
    ],
    ids=["set", "function", "bytes", "complex", "class"],
)
def test_what_is_no_array_is_refused_with_its_place(tree: Any, words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        flatten(tree)


def test_two_keys_that_read_the_same_are_refused_rather_than_one_lost() -> None:
    with pytest.raises(WorkloadError, match=r"value\.scores.*'1'"):
        flatten({"scores": {1: np.ones(1), "1": np.zeros(1)}})


def test_leaves_are_named_by_their_path() -> None:
    tree = {"ids": np.ones(1), "layers": [{"k": np.ones(1), "v": np.ones(1)}, None], "n": 3}
    assert leaf_names(flatten(tree)[1]) == ["ids", "layers_0_k", "layers_0_v"]
    assert leaf_names(flatten(np.ones(1))[1]) == ["output"]
    assert leaf_names(flatten({})[1]) == leaf_names(flatten(3)[1]) == []


@pytest.mark.parametrize("value", [np.ones(2), np.float32(1), np.int64(3), torch.ones(1), torch.nn.Parameter(torch.ones(1))])
def test_arrays_scalars_of_numpy_and_tensors_are_leaves(value: Any) -> None:
    assert is_leaf(value) and len(flatten(value)[0]) == 1


@pytest.mark.parametrize("value", [1, 1.0, True, None, "x", [np.ones(1)], torch.float32, torch.nn.Identity()])
def test_nothing_else_is_a_leaf(value: Any) -> None:
    assert not is_leaf(value)


def test_a_class_of_ones_own_that_is_called_tensor_is_no_leaf() -> None:
    imposter = type("Tensor", (), {"__module__": "mine"})()
    assert not is_leaf(imposter)


def test_tensors_become_arrays_of_the_same_values() -> None:
    x = torch.tensor([[1.5, -2.0], [0.0, 3.0]])
    assert np.array_equal(to_numpy(x), x.numpy())
    assert np.shares_memory(to_numpy(x), x.numpy()), "without copying"
    tracked = torch.nn.Parameter(x.clone())
    assert np.array_equal(to_numpy(tracked), x.numpy())
    low = to_numpy(x.to(torch.bfloat16))
    assert low.dtype == np.float32 and np.array_equal(low, x.numpy())
    assert to_numpy(x.half()).dtype == np.float16
    assert to_numpy(np.float32(2)).shape == ()


def test_trees_are_read_where_torch_was_never_imported() -> None:
    code = (
        "import sys, numpy as np; from strop.contract.pytree import flatten, unflatten;"
        "leaves, spec = flatten({'a': [np.ones(2), None]}); assert unflatten(spec, leaves)['a'][0] is leaves[0];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
