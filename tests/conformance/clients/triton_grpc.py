"""NVIDIA's gRPC client; tensors travel as raw contents."""

from __future__ import annotations

import sys

import tritonclient.grpc as triton
from harness import NotOffered, cases, main
from triton_tensors import array_of, equal
from tritonclient.utils import InferenceServerException


def connect(t):
    """Return a client of the gRPC port."""
    if not t.grpc:
        raise NotOffered("no gRPC port was named")
    return triton.InferenceServerClient(t.grpc)


def inputs(model, batch=1):
    """Return the model's inputs."""
    found = []
    for name, datatype, shape, flat in model.tensors(batch):
        tensor = triton.InferInput(name, shape, datatype)
        tensor.set_data_from_numpy(array_of(datatype, shape, flat))
        found.append(tensor)
    return found


def fails(call, *codes):
    """Check that a call ends with one of these status codes, in words."""
    try:
        call()
    except InferenceServerException as error:
        code = str(error.status()).rpartition(".")[2]
        assert code in codes, f"{code} ({error.message()}), not {' or '.join(codes)}"
        assert error.message(), "no message"
        return
    raise AssertionError("no error was raised")


def check_health(t):
    """gRPC, Health: ServerLive, ServerReady and ModelReady answer true."""
    with connect(t) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(t.model.name)


def check_unknown_model_is_not_ready(t):
    """gRPC, Model Ready: false or an error where there is no such model."""
    with connect(t) as client:
        try:
            ready = client.is_model_ready("no-such-model")
        except InferenceServerException as error:
            assert "NOT_FOUND" in str(error.status()), f"status {error.status()}"
        else:
            assert not ready, "a model that does not exist is ready"


def check_metadata(t):
    """gRPC, Metadata: server name and version; the model's inputs and outputs as over HTTP."""
    with connect(t) as client:
        server, model = client.get_server_metadata(), client.get_model_metadata(t.model.name)
        assert server.name and model.name == t.model.name
        found = [(row.name, row.datatype, list(row.shape)) for row in model.inputs]
        assert found == t.model.inputs, f"{found} over gRPC, {t.model.inputs} over HTTP"


@cases("1", "2", "33")
def check_infer(t, batch):
    """gRPC, Inference: raw_input_contents are flattened, row-major, in the order of the inputs."""
    with connect(t) as client:
        equal(client.infer(t.model.name, inputs(t.model, int(batch))), t.model, int(batch))


@cases("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES")
def check_datatype(t, datatype):
    """gRPC, Tensor Data Types: every datatype as raw contents."""
    model = t.with_datatype(datatype)
    with connect(t) as client:
        equal(client.infer(model.name, inputs(model, 3)), model, 3)


@cases("42", "7é")
def check_id(t, given):
    """gRPC, ModelInferRequest: the id, if specified, will be returned in the response; a string is any Unicode text."""
    with connect(t) as client:
        answer = client.infer(t.model.name, inputs(t.model), request_id=given).get_response()
        assert answer.id == given, f"id is {answer.id!r}"
        assert answer.model_name == t.model.name, f"model_name is {answer.model_name!r}"


def check_requested_outputs(t):
    """gRPC, ModelInferRequest: outputs are the output tensors requested."""
    model = t.with_many()
    with connect(t) as client:
        answer = client.infer(model.name, inputs(model), outputs=[triton.InferRequestedOutput(model.outputs[1])])
        names = [row.name for row in answer.get_response().outputs]
        assert names == [model.outputs[1]], f"{model.outputs[1]} was requested; {names} came"


def check_unknown_model(t):
    """gRPC, Inference: errors are indicated by the status; NOT_FOUND for a model that does not exist."""
    with connect(t) as client:
        fails(lambda: client.infer("no-such-model", inputs(t.model)), "NOT_FOUND")


def check_unknown_input(t):
    """gRPC, Inference: errors are indicated by the status; INVALID_ARGUMENT for a tensor the model does not have."""
    _, datatype, shape, flat = t.model.tensors()[0]
    tensor = triton.InferInput("no-such-input", shape, datatype)
    tensor.set_data_from_numpy(array_of(datatype, shape, flat))
    with connect(t) as client:
        fails(lambda: client.infer(t.model.name, [tensor, *inputs(t.model)[1:]]), "INVALID_ARGUMENT")


def check_wrong_datatype(t):
    """gRPC, Inference: INVALID_ARGUMENT for a tensor of another datatype than the model's."""
    name, datatype, shape, flat = t.model.tensors()[0]
    other = "FP64" if datatype != "FP64" else "INT8"
    tensor = triton.InferInput(name, shape, other)
    tensor.set_data_from_numpy(array_of(other, shape, [1] * len(flat)))
    with connect(t) as client:
        fails(lambda: client.infer(t.model.name, [tensor, *inputs(t.model)[1:]]), "INVALID_ARGUMENT")


def check_raw_contents_of_another_size(t):
    """gRPC, raw_input_contents: the size must match what is expected by the tensor's shape and data type."""
    name, datatype, shape, flat = t.model.tensors(2)[0]
    tensor = triton.InferInput(name, shape, datatype)
    tensor.set_data_from_numpy(array_of(datatype, shape, flat))
    tensor.set_shape([3, *shape[1:]])
    with connect(t) as client:
        fails(lambda: client.infer(t.model.name, [tensor, *inputs(t.model, 2)[1:]]), "INVALID_ARGUMENT")


if __name__ == "__main__":
    main(sys.modules[__name__])
