"""NVIDIA's HTTP client; it sends and asks for binary tensors unless told otherwise."""

from __future__ import annotations

import json
import math
import sys

import tritonclient.http as triton
from harness import NotOffered, cases, main
from triton_tensors import array_of, equal
from tritonclient.utils import InferenceServerException


def connect(t):
    """Return a client with room for 16 requests at once."""
    return triton.InferenceServerClient(t.url.partition("://")[2], concurrency=16)


def inputs(model, batch=1, binary=True):
    """Return the model's inputs."""
    found = []
    for name, datatype, shape, flat in model.tensors(batch):
        tensor = triton.InferInput(name, shape, datatype)
        tensor.set_data_from_numpy(array_of(datatype, shape, flat), binary_data=binary)
        found.append(tensor)
    return found


def needs_binary(t):
    """Go on only where the server lists the extension."""
    if "binary_tensor_data" not in t.extensions():
        raise NotOffered("the server does not list the extension binary_tensor_data")


def needs_json_datatypes(model):
    """Go on only where every datatype has a JSON form in this client."""
    if {"FP16", "BF16"} & {datatype for _, datatype, _ in model.inputs}:
        raise NotOffered("this client has no JSON form of 16-bit floats")


def _json_outputs(model):
    return [triton.InferRequestedOutput(name, binary_data=False) for name in model.outputs]


def check_health(t):
    """REST, API Definitions: live, ready, model ready."""
    with connect(t) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(t.model.name)
        assert not client.is_model_ready("no-such-model")


def check_metadata(t):
    """REST, Server Metadata and Model Metadata."""
    with connect(t) as client:
        assert client.get_server_metadata()["name"]
        assert client.get_model_metadata(t.model.name)["name"] == t.model.name


def check_infer_as_the_client_does_by_default(t):
    """Binary extension, listed or not: without it this widely used client cannot be used as it comes."""
    with connect(t) as client:
        answer = client.infer(t.model.name, inputs(t.model, 2))
        equal(answer, t.model, 2)


def check_infer_with_requested_binary_outputs(t):
    """Binary extension: "binary_data" on every requested output."""
    needs_binary(t)
    wanted = [triton.InferRequestedOutput(name, binary_data=True) for name in t.model.outputs]
    with connect(t) as client:
        equal(client.infer(t.model.name, inputs(t.model), outputs=wanted), t.model, 1)


def check_infer_json(t):
    """REST, Inference: everything as JSON."""
    needs_json_datatypes(t.model)
    with connect(t) as client:
        equal(client.infer(t.model.name, inputs(t.model, 2, binary=False), outputs=_json_outputs(t.model)), t.model, 2)


@cases("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES")
def check_datatype(t, datatype):
    """Binary extension: all tensor data types are representable as binary data."""
    needs_binary(t)
    model = t.with_datatype(datatype)
    with connect(t) as client:
        equal(client.infer(model.name, inputs(model, 3)), model, 3)


def check_id(t):
    """REST, Inference Request: "id" must be returned in the response."""
    needs_json_datatypes(t.model)
    with connect(t) as client:
        answer = client.infer(t.model.name, inputs(t.model, binary=False), outputs=_json_outputs(t.model), request_id="7é")
        assert answer.get_response()["id"] == "7é", answer.get_response()


def check_requested_outputs(t):
    """REST, Inference Request: "outputs" are the output tensors requested."""
    model = t.with_many()
    needs_json_datatypes(model)
    with connect(t) as client:
        wanted = [triton.InferRequestedOutput(model.outputs[-1], binary_data=False)]
        answer = client.infer(model.name, inputs(model, binary=False), outputs=wanted)
        assert [row["name"] for row in answer.get_response()["outputs"]] == [model.outputs[-1]]


def check_unknown_model_is_an_error_with_words(t):
    """REST, Inference Response Error: status and {"error": $string}; this client shows both."""
    with connect(t) as client:
        try:
            client.infer("no-such-model", inputs(t.model, binary=False))
        except InferenceServerException as error:
            assert error.status() is not None and "404" in str(error.status()), f"status {error.status()}"
            assert error.message(), "no message"
            return
    raise AssertionError("no error was raised")


def check_wrong_shape_is_an_error(t):
    """REST, Inference Response Error: a request that does not fit the model is refused."""
    needs_json_datatypes(t.model)
    name, datatype, _, flat = t.model.tensors(2)[0]
    tensor = triton.InferInput(name, [2, 1, 1, 1], datatype)
    tensor.set_data_from_numpy(array_of(datatype, [2, 1, 1, 1], flat[:2]), binary_data=False)
    with connect(t) as client:
        try:
            client.infer(t.model.name, [tensor, *inputs(t.model, 2, binary=False)[1:]], outputs=_json_outputs(t.model))
        except InferenceServerException as error:
            assert "50" not in str(error.status())[:2], f"status {error.status()}"
            return
    raise AssertionError("no error was raised")


def check_many_at_once(t):
    """REST, Inference Response: the answer is that of this request; 16 at once."""
    needs_binary(t)
    with connect(t) as client:
        waiting = [client.async_infer(t.model.name, inputs(t.model, 1 + number % 3)) for number in range(16)]
        for number, answer in enumerate(waiting):
            equal(answer.get_result(), t.model, 1 + number % 3)


def check_statistics(t):
    """Statistics extension: inference counts per model, where the extension is listed."""
    if "statistics" not in t.extensions():
        raise NotOffered("the server does not list the extension statistics")
    with connect(t) as client:
        row = client.get_inference_statistics(t.model.name)["model_stats"][0]
        assert row["name"] == t.model.name and math.isfinite(row["inference_count"]), json.dumps(row)


if __name__ == "__main__":
    main(sys.modules[__name__])
