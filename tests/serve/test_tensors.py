"""Checks that every front shares: which input, what shape, which numbers."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.contract.signature import Signature, TensorSpec
from strop.serve.limits import Limits
from strop.serve.problem import Problem
from strop.serve.tensors import SMALL, Inputs, Slot, from_list, within

MOST = float(np.finfo(np.float32).max)


def slot(dtype: str) -> Slot:
    spec = TensorSpec(name="x", dtype=dtype, shape=(None,))
    signature = Signature(inputs=(spec,), input_tree={}, outputs=(), output_tree={})
    inputs = Inputs(signature, Limits())
    return inputs.claim(inputs.empty(1), "x", inputs._slots["x"].datatype, [1])[0]


@given(st.lists(st.floats(), min_size=1, max_size=2 * SMALL))
def test_what_is_called_within_is_within_and_nothing_warns(values: list[float]) -> None:
    array = np.array(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if within(array, MOST):
            assert np.isfinite(array.astype(np.float32)).all()
        if within(array):
            assert np.isfinite(array).all()


def test_ordinary_numbers_are_seen_to_be_within() -> None:
    assert within(np.array([[1.5, -2.0], [0.0, 3e38]]), MOST)
    assert within(np.array([1, 2], np.float16))
    for wrong in (math.inf, -math.inf, math.nan, 3.5e38):
        assert not within(np.array([1.0, wrong]), MOST)
    assert not within(np.array([1, 2])), "only floats are looked at"
    assert not within(np.ones(SMALL + 1)), "of many nothing is said"


@pytest.mark.parametrize("data", [[0, 1, 2**64 - 1], [2**63, 0, 1], [2**64 - 1] * 3])
def test_the_upper_half_of_uint64_is_read_exactly(data: list[int]) -> None:
    assert from_list(slot("uint64"), (3,), 3, data).tolist() == data


@pytest.mark.parametrize("data", [[0, 1.5, 2**64 - 1], [0, 1, 2**64], [0, -1, 2**64 - 1], [0, 1, 1e19], ["a", 1, 2]])
def test_what_is_no_uint64_is_not_made_one(data: list[object]) -> None:
    with pytest.raises(Problem, match=r"UINT64|regular"):
        from_list(slot("uint64"), (3,), 3, data)


@pytest.mark.parametrize(("dtype", "value"), [("float16", 65520.0), ("float32", 3.5e38), ("int8", 128), ("uint8", -1)])
@pytest.mark.parametrize("count", [1, SMALL + 1])
def test_values_outside_of_a_datatype_are_told_whatever_their_number(dtype: str, value: float, count: int) -> None:
    with pytest.raises(Problem, match="values outside of"):
        from_list(slot(dtype), (count,), count, [value] * count)


def test_the_arrays_stand_in_the_order_of_the_signature() -> None:
    specs = tuple(TensorSpec(name=name, dtype="float32", shape=(None,)) for name in "ab")
    inputs = Inputs(Signature(inputs=specs, input_tree={}, outputs=(), output_tree={}), Limits(tensors=2))
    found = inputs.empty(2)
    second, shape, count = inputs.claim(found, "b", "FP32", (2,))
    assert (second.place, shape, count) == (1, (2,), 2)
    found[1] = np.zeros(2)
    with pytest.raises(Problem, match="'b' came twice"):
        inputs.claim(found, "b", "FP32", (2,))
    with pytest.raises(Problem, match="'a' is missing"):
        inputs.whole(found)
    with pytest.raises(Problem, match="3 inputs came; at most 2"):
        inputs.empty(3)
    with pytest.raises(Problem, match="no input '7'; the model takes a, b"):
        inputs.claim(found, 7, "FP32", (2,))
