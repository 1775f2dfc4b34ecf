"""KServe's Python clients, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import sys

import grpc
import httpx
import numpy as np
from harness import NotOffered, main
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8, "BOOL": np.bool_}


def request(model, batch=1, binary=False, **more):
    """Return this client's request."""
    tensors = []
    for name, datatype, shape, flat in model.tensors(batch):
        if datatype not in DTYPES:
            raise NotOffered(f"the check has no arrays of {datatype}")
        tensor = InferInput(name, shape, datatype)
        tensor.set_data_from_numpy(np.array(flat, dtype=DTYPES[datatype]).reshape(shape), binary_data=binary)
        tensors.append(tensor)
    return InferRequest(model.name, tensors, **more)


def equal(answer, model, batch):
    """Check an answer of an identity model."""
    rows = {output.name: output for output in answer.outputs}
    for (_, datatype, shape, flat), name in zip(model.tensors(batch), model.outputs, strict=True):
        got = rows[name].as_numpy()
        assert (rows[name].datatype, list(got.shape)) == (datatype, shape), f"{name} is {rows[name].datatype}{list(got.shape)}"
        assert got.ravel().tolist() == flat, f"{name} is {got.ravel().tolist()[:6]}, not {flat[:6]}"


def rest(t, question):
    """Ask over HTTP."""

    async def ask():
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(ask())


def remote(t, question):
    """Ask over gRPC."""
    if not t.grpc:
        raise NotOffered("no gRPC port was named")

    async def ask():
        client = InferenceGRPCClient(t.grpc, retries=0)
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(ask())


def check_rest_health(t):
    """REST, API Definitions: live, ready, model ready."""
    assert rest(t, lambda client: client.is_server_live(t.url))
    assert rest(t, lambda client: client.is_server_ready(t.url))
    assert rest(t, lambda client: client.is_model_ready(t.url, t.model.name))


def check_rest_infer(t):
    """REST, Inference: JSON in, JSON out."""
    equal(rest(t, lambda client: client.infer(t.url, request(t.model, 2), model_name=t.model.name)), t.model, 2)


def check_rest_binary(t):
    """Binary extension: raw input tensors, where the extension is listed."""
    if "binary_tensor_data" not in t.extensions():
        raise NotOffered("the server does not list the extension binary_tensor_data")
    equal(rest(t, lambda client: client.infer(t.url, request(t.model, 2, binary=True), model_name=t.model.name)), t.model, 2)


def check_rest_id(t):
    """REST, Inference Request: "id" must be returned in the response."""
    answer = rest(t, lambda client: client.infer(t.url, request(t.model, request_id="42"), model_name=t.model.name))
    assert answer.id == "42", f"id is {answer.id!r}"


def check_rest_unknown_model(t):
    """REST, Inference Response Error: an HTTP error status."""
    try:
        rest(t, lambda client: client.infer(t.url, request(t.model), model_name="no-such-model"))
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404, f"status {error.response.status_code}"
        return
    raise AssertionError("no error was raised")


def check_grpc_health(t):
    """gRPC, Health: ServerLive, ServerReady and ModelReady answer true."""
    assert remote(t, lambda client: client.is_server_live())
    assert remote(t, lambda client: client.is_server_ready())
    assert remote(t, lambda client: client.is_model_ready(t.model.name))


def check_grpc_infer(t):
    """gRPC, Inference: typed contents, as this client sends them without raw bytes."""
    equal(remote(t, lambda client: client.infer(request(t.model, 2))), t.model, 2)


def check_grpc_raw(t):
    """gRPC, raw_input_contents: must be initialised with data for each tensor in the same order as inputs."""
    equal(remote(t, lambda client: client.infer(request(t.model, 2, binary=True))), t.model, 2)


def check_grpc_id(t):
    """gRPC, ModelInferRequest: the id, if specified, will be returned in the response."""
    answer = remote(t, lambda client: client.infer(request(t.model, request_id="42")))
    assert answer.id == "42", f"id is {answer.id!r}"


def check_grpc_unknown_model(t):
    """gRPC, Inference: errors are indicated by the status."""

    async def ask(client):
        wrong = request(t.model)
        wrong.model_name = "no-such-model"
        return await client.infer(wrong)

    try:
        remote(t, ask)
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, f"{error.code().name}: {error.details()}"
        return
    raise AssertionError("no error was raised")


if __name__ == "__main__":
    main(sys.modules[__name__])
