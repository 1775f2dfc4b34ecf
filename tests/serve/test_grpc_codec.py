"""Messages of the protocol: what is read, what is refused and in which words, what is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from strop.contract.signature import Signature, TensorSpec
from strop.serve.datatypes import OF_NUMPY
from strop.serve.grpc_codec import FIELDS, GrpcCodec, config_message, parse
from strop.serve.grpc_messages import MESSAGES
from strop.serve.limits import Limits
from strop.serve.oip import model_config
from strop.serve.problem import Problem


def signature(dtype: str = "float32", more: str = "") -> Signature:
    names = {"x": dtype, **({"z": more} if more else {})}
    inputs = tuple(TensorSpec(name=name, dtype=d, shape=(None, 2)) for name, d in names.items())
    outputs = tuple(TensorSpec(name=f"y{name}", dtype=d, shape=(None, 2)) for name, d in names.items())
    return Signature(inputs=inputs, input_tree={}, outputs=outputs, output_tree={})


def codec(dtype: str = "float32", more: str = "", **limits: int) -> GrpcCodec:
    return GrpcCodec(signature(dtype, more), Limits(**limits))


def request(*inputs: Any, **fields: Any) -> Any:
    return MESSAGES["ModelInferRequest"](inputs=inputs or [tensor()], **fields)


def tensor(name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1, 2), **contents: Any) -> dict[str, Any]:
    given = contents or {"fp32_contents": [1.5, 2.5]}
    return {"name": name, "datatype": datatype, "shape": shape, "contents": given}


def bare(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": (1, 2), **fields}


@pytest.mark.parametrize("dtype", OF_NUMPY)
def test_every_datatype_goes_in_and_out_raw(dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]], dtype=dtype)
    kept, row = codec(dtype), bare(datatype=OF_NUMPY[dtype], shape=(2, 2))
    call = kept.read(request(row, raw_input_contents=[values.tobytes()]))
    assert call.arrays[0].dtype == values.dtype
    assert np.array_equal(call.arrays[0], values)
    answer = MESSAGES["ModelInferResponse"].FromString(kept.write(call, [values], "m", "1"))
    assert (answer.model_name, answer.model_version) == ("m", "1")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("yx", OF_NUMPY[dtype], [2, 2])
    assert list(answer.raw_output_contents) == [values.tobytes()]
    assert not output.HasField("contents")


@pytest.mark.parametrize("dtype", [dtype for dtype, name in OF_NUMPY.items() if name in FIELDS])
def test_numbers_are_answered_with_numbers(dtype: str) -> None:
    limit = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    values = np.array([[0, 1], [limit, 0]], dtype=dtype)
    kept, field = codec(dtype), FIELDS[OF_NUMPY[dtype]]
    call = kept.read(request(tensor(datatype=OF_NUMPY[dtype], shape=(2, 2), **{field: values.ravel().tolist()})))
    assert call.arrays[0].dtype == values.dtype
    assert np.array_equal(call.arrays[0], values)
    answer = MESSAGES["ModelInferResponse"].FromString(kept.write(call, [values], "m", "1"))
    assert list(getattr(answer.outputs[0].contents, field)) == values.ravel().tolist()
    assert not answer.raw_output_contents


def test_an_output_without_a_field_of_numbers_makes_the_whole_answer_raw() -> None:
    outputs = signature("float32", "float16").outputs
    kept = GrpcCodec(Signature(inputs=signature().inputs, input_tree={}, outputs=outputs, output_tree={}), Limits())
    assert kept.read(request(tensor())).outputs == [(0, True), (1, True)]
    assert kept.read(request(tensor(), outputs=[{"name": "yx"}])).outputs == [(0, False)]


def test_options_and_requested_outputs() -> None:
    kept = codec("float32", "int64")
    rows = (tensor("z", "INT64", int64_contents=[1, 2]), tensor("x"))
    asked = request(*rows, id="7é", outputs=[{"name": "yz"}, {"name": "yz"}])
    asked.parameters["priority"].int64_param = 1
    asked.parameters["timeout"].uint64_param = 2_000_000
    asked.parameters["unread"].string_param = "x"
    call = kept.read(asked)
    assert [array.dtype.name for array in call.arrays] == ["float32", "int64"], "the order of the signature, not of the request"
    assert (call.identifier, call.level, call.timeout, call.outputs) == ("7é", 1, 2.0, [(1, False)])
    answer = MESSAGES["ModelInferResponse"].FromString(kept.write(call, call.arrays, "m", "1"))
    assert (answer.id, [row.name for row in answer.outputs]) == ("7é", ["yz"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(tensor("q")), "there is no input 'q'; the model takes x"),
        (request(tensor(), tensor()), "input 'x' came twice"),
        (MESSAGES["ModelInferRequest"](), "the input 'x' is missing"),
        (request(tensor(datatype="FP64")), "input 'x' is FP32; the datatype FP64 came"),
        (request(tensor(shape=(2,))), r"has shape \(2,\); \[-1, 2\] was expected"),
        (request(tensor(shape=(-1, 2))), "sizes, 0 or more"),
        (request(tensor(shape=(1 << 40, 2))), "elements; .* are allowed"),
        (request(tensor(shape=(2, 2))), "needs 4 numbers in fp32_contents; 2 numbers came"),
        (request(tensor(fp64_contents=[1, 2])), "needs 2 numbers in fp32_contents; data in fp64_contents came"),
        (request(tensor(fp32_contents=[1, 2], int_contents=[1])), "data in int_contents came"),
        (request(bare()), "needs 2 numbers in fp32_contents; 0 numbers came"),
        (request(tensor(), raw_input_contents=[bytes(8)]), "has contents beside raw_input_contents"),
        (request(bare(), raw_input_contents=[bytes(8), b""]), "has 2 entries for 1 inputs"),
        (request(bare(), raw_input_contents=[bytes(7)]), "7 bytes are given for it, but its shape takes 8"),
        (request(bare(), raw_input_contents=[bytes(9)]), "9 bytes are given for it, but its shape takes 8"),
        (request(tensor(), outputs=[{"name": "q"}]), "there is no output 'q'; the model gives yx"),
        (request(tensor(), id="i" * 257), "id must be text of at most 256 characters"),
        (request(*[tensor()] * 65), "65 inputs came; at most 64 are read"),
        (request(tensor(), outputs=[{"name": "yx"}] * 65), "65 outputs came; at most 64"),
        (request(tensor(), parameters={"priority": {"string_param": "1"}}), "priority and timeout"),
        (request(tensor(), parameters={"timeout": {"int64_param": -1}}), "priority and timeout"),
        (request(tensor(), parameters={"timeout": {}}), "priority and timeout"),
    ],
)
def test_what_makes_no_sense_is_told(asked: Any, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        codec().read(asked)
    assert caught.value.status == 400


@pytest.mark.parametrize(("dtype", "value"), [("int8", 128), ("int16", -32769)])
def test_numbers_that_do_not_fit_a_narrow_datatype_are_not_wrapped(dtype: str, value: int) -> None:
    with pytest.raises(Problem, match=f"values outside of {OF_NUMPY[dtype]}"):
        codec(dtype).read(request(tensor(datatype=OF_NUMPY[dtype], int_contents=[0, value])))


def test_half_precision_has_no_field_of_numbers() -> None:
    with pytest.raises(Problem, match="FP16, which has no field in contents; send it in raw_input_contents"):
        codec("float16").read(request(tensor(datatype="FP16")))


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab"])
def test_bytes_that_are_no_message_are_told(data: bytes) -> None:
    with pytest.raises(Problem, match="are no ModelInferRequest"):
        parse("ModelInferRequest", data)


def test_the_configuration_numbers_datatypes_as_triton_does() -> None:
    config = model_config(signature("float32", "bool"), "m", "p", 8)
    read = MESSAGES["ModelConfigResponse"].FromString(config_message(config)).config
    assert (read.name, read.platform, read.backend, read.max_batch_size) == ("m", "p", "strop", 8)
    assert [(row.name, row.data_type, list(row.dims)) for row in read.input] == [("x", 11, [2]), ("z", 1, [2])]
    assert [row.name for row in read.output] == ["yx", "yz"]
