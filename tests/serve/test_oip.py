"""Bodies of the protocol: what is read, what is refused and how, what is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from strop.contract.signature import Signature, TensorSpec
from strop.serve.datatypes import OF_NUMPY
from strop.serve.limits import Limits
from strop.serve.oip import BINARY, HEADER_LENGTH, JSON, Codec, metadata, model_config
from strop.serve.problem import Problem

Make = Callable[..., Signature]
X = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}


def codec(dtype: str = "float32", shape: tuple[int | None, ...] = (None, 2), **limits: int) -> Codec:
    spec = {name: TensorSpec(name=name, dtype=dtype, shape=shape) for name in "xy"}
    return Codec(Signature(inputs=(spec["x"],), input_tree={}, outputs=(spec["y"],), output_tree={}), Limits(**limits))


def body(**changes: Any) -> bytes:
    return json.dumps({"inputs": [{**X, **changes}]}).encode()


def refusal(data: bytes, header_length: str | None = None, **settings: Any) -> str:
    with pytest.raises(Problem) as caught:
        codec(**settings).read(data, header_length)
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[1.0, 2], [3, 4.0]]])
def test_flat_and_nested_data_say_the_same(data: Any) -> None:
    (array,) = codec().read(body(data=data), None).arrays
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", OF_NUMPY)
def test_every_datatype_goes_in_and_out_as_binary_and_as_json(dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]], dtype=dtype)
    kept = codec(dtype)
    request = {"name": "x", "shape": [2, 2], "datatype": OF_NUMPY[dtype]}
    plain = kept.read(json.dumps({"inputs": [{**request, "data": values.tolist()}]}).encode(), None)
    raw = values.tobytes()
    head = json.dumps(
        {"inputs": [{**request, "parameters": {"binary_data_size": len(raw)}}], "parameters": {"binary_data_output": True}}
    ).encode()
    packed = kept.read(head + raw, str(len(head)))
    for call in (plain, packed):
        assert call.arrays[0].dtype == values.dtype
        assert np.array_equal(call.arrays[0], values)
    written, headers = kept.write(packed, [values], "m", "1")
    size = int(dict(headers)[HEADER_LENGTH])
    (output,) = json.loads(written[:size])["outputs"]
    assert BINARY in headers
    assert output == {"name": "y", "datatype": OF_NUMPY[dtype], "shape": [2, 2], "parameters": {"binary_data_size": len(raw)}}
    assert written[size:] == raw
    written, headers = kept.write(plain, [values], "m", "1")
    assert headers == (JSON,)
    assert json.loads(written)["outputs"][0]["data"] == values.reshape(-1).tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "must be a JSON object; it is a list"),
        (b"{} x", "not valid JSON"),
        (b"{}", "needs a list of inputs: x"),
        (b'{"inputs": {}}', "needs a list of inputs"),
        (b'{"inputs": [3]}', "must be an object with a name"),
        (b'{"inputs": [{"name": "z"}]}', "there is no input 'z'; the model takes x"),
        (b'{"inputs": []}', "the input 'x' is missing"),
        (b'{"inputs": [], "parameters": 3}', "parameters must be an object"),
        (b'{"inputs": [], "parameters": {"timeout": -1}}', "whole numbers"),
        (b'{"inputs": [], "parameters": {"priority": true}}', "whole numbers"),
        (b'{"inputs": [], "id": 3}', "id must be text"),
        (b'{"inputs": [], "outputs": [{"name": "x"}]}', "the input 'x' is missing"),
        (json.dumps({"inputs": [X, X]}).encode(), "came twice"),
        (json.dumps({"inputs": [X], "outputs": [{"name": "q"}]}).encode(), "there is no output 'q'; the model gives y"),
        (body(datatype="FP64"), "input 'x' is FP32; the datatype FP64 came"),
        (body(datatype=["FP32"]), "input 'x' is FP32"),
        (body(shape=[4]), r"input 'x' has shape [4]; [-1, 2] was expected"),
        (body(shape=[2, 3], data=[1] * 6), "has shape [2, 3]"),
        (body(shape=[-2, 2]), "sizes, 0 or more"),
        (body(shape=[2.0, 2]), "sizes, 0 or more"),
        (body(shape=[True, 2]), "sizes, 0 or more"),
        (body(shape="2,2"), "sizes, 0 or more"),
        (body(shape=[0, 2], data=[]), "is empty"),
        (body(shape=[2**62, 2], data=[1]), "elements; 67108864 are allowed"),
        (body(shape=[3, 2]), "data holds [4] elements"),
        (body(data=[[1, 2, 3, 4]]), "data holds [1, 4] elements"),
        (body(data=[[1, 2], [3]]), "not a regular array"),
        (body(data=["1", "2", "3", "4"]), "no FP32; nothing is converted silently"),
        (body(data=[1, 2, 3, None]), "no FP32"),
        (body(data=[True, False, True, True]), "no FP32"),
        (body(data=[1, 2, 3, 1e300]), "values outside of FP32"),
        (body(data=7), "needs data, a list"),
        (body(data=None), "needs data, a list"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_with_it(data: bytes, message: str) -> None:
    assert message in refusal(data)


@pytest.mark.parametrize("value", [300, -1, 2**70, 1.5])
def test_integers_are_not_wrapped_or_rounded(value: Any) -> None:
    assert "input 'x'" in refusal(body(datatype="UINT8", data=[0, 1, 2, value]), dtype="uint8")


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("-1", "number of bytes"),
        ("abc", "number of bytes"),
        ("9" * 30, "number of bytes"),
        ("99999", "number of bytes"),
        ("٣", "number"),
    ],
)
def test_the_header_length_must_lie_within_the_body(length: str, message: str) -> None:
    assert message in refusal(body(), length)


@pytest.mark.parametrize(
    ("size", "tail", "message"),
    [
        (16, 15, "16 bytes were announced, 15 came"),
        (12, 12, "its shape takes 16"),
        (16, 17, "1 bytes follow"),
        ("16", 16, "its shape"),
        (-16, 16, "its shape"),
        (True, 16, "its shape"),
    ],
)
def test_binary_sizes_must_agree_with_shape_and_body(size: Any, tail: int, message: str) -> None:
    head = json.dumps({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}]})
    assert message in refusal(head.encode() + bytes(tail), str(len(head)))


def test_a_bool_is_a_byte_of_zero_or_one() -> None:
    head = json.dumps({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "BOOL", "parameters": {"binary_data_size": 4}}]})
    assert "a byte of 0 or 1" in refusal(head.encode() + b"\0\1\2\1", str(len(head)), dtype="bool")


@pytest.mark.parametrize(
    "data",
    [
        b'{"inputs":' + b"[" * 250_000,
        b'{"inputs":' + b"[" * 250_000 + b"]" * 250_000 + b"}",
        b'{"inputs": [], ' + b",".join(b'"k%d": 1' % n for n in range(100_000)) + b"}",
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, ' + b"9" * 5_000_000 + b"]}]}",
    ],
    ids=["open", "deep", "keys", "digits"],
)
def test_hostile_json_is_refused_soon(data: bytes) -> None:
    start = time.process_time()
    refusal(data)
    assert time.process_time() - start < 1.0


def test_limits_hold() -> None:
    assert "at most 2 are read" in refusal(json.dumps({"inputs": [X, X, X]}).encode(), tensors=2)
    assert "3 are allowed" in refusal(body(), elements=3)
    assert "at most 5 characters" in refusal(json.dumps({"inputs": [X], "id": "123456"}).encode(), name=5)


def test_messages_are_cut_short() -> None:
    assert len(refusal(json.dumps({"inputs": [{"name": "n" * 10_000}]}).encode())) < 200


def test_identifier_priority_and_timeout_are_read() -> None:
    request = {"inputs": [X], "id": "7", "parameters": {"priority": 1, "timeout": 2500}}
    call = codec().read(json.dumps(request).encode(), None)
    assert (call.identifier, call.level, call.timeout) == ("7", 1, 2.5e-3)
    plain = codec().read(body(), None)
    assert (plain.identifier, plain.level, plain.timeout) == ("", 2, None)
    assert b'"id":"7"' in codec().write(call, [np.zeros((1, 2), np.float32)], "m", "1")[0]
    assert b'"id"' not in codec().write(plain, [np.zeros((1, 2), np.float32)], "m", "1")[0]


def test_values_that_json_lacks_are_sent_as_binary_only() -> None:
    answer = [np.array([[1, np.nan]], np.float32)]
    with pytest.raises(Problem, match="ask for it as binary data"):
        codec().write(codec().read(body(), None), answer, "m", "1")
    asked = json.dumps({"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}).encode()
    written, headers = codec().write(codec().read(asked, None), answer, "m", "1")
    assert written.endswith(answer[0].tobytes())
    assert BINARY in headers


def test_metadata_and_config_describe_the_model(signature: Make) -> None:
    row = metadata(signature(None, 4), "m", "1", "p")
    assert row["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert (row["name"], row["versions"], row["platform"]) == ("m", ["1"], "p")
    config = model_config(signature(None, 4), "m", "p", 8)
    assert (config["max_batch_size"], config["input"]) == (8, [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}])
    assert model_config(signature(2, 4), "m", "p", 0)["input"][0]["dims"] == [2, 4]
