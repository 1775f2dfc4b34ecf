"""The messages of the Open Inference Protocol v2 for gRPC, of gRPC's health check, and of an error that says when to retry.

They are described here field by field and built in a descriptor pool of their own. A generated module would register
``inference.ModelInferRequest`` in the pool that the whole process shares, where it can stand once: tritonclient and KServe
each bring one, and a process that imports two of the three would fail.

Source: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto; the model's configuration and the
repository's index are NVIDIA Triton's; grpc.health.v1; google.rpc.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from strop.errors import MissingExtraError

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError as error:
    raise MissingExtraError("gRPC", "serve") from error

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
"""States of a service in gRPC's health check."""

Fields = Mapping[str, str]
"""Name → ``number type``: a scalar, a message, ``list`` of either or ``map`` of text to a message; ``one`` marks the fields
of which only one is set."""

_SCALARS = MappingProxyType(
    {
        "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
        "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
        "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
        "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
        "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
        "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
        "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
        "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    }
)
_VERSIONED: Fields = {"name": "1 string", "version": "2 string"}
_TENSOR: Fields = {
    "name": "1 string",
    "datatype": "2 string",
    "shape": "3 list int64",
    "parameters": "4 map InferParameter",
    "contents": "5 InferTensorContents",
}
_PACKAGES: Mapping[str, Mapping[str, Fields]] = {
    "inference": {
        "ServerLiveRequest": {},
        "ServerLiveResponse": {"live": "1 bool"},
        "ServerReadyRequest": {},
        "ServerReadyResponse": {"ready": "1 bool"},
        "ModelReadyRequest": _VERSIONED,
        "ModelReadyResponse": {"ready": "1 bool"},
        "ServerMetadataRequest": {},
        "ServerMetadataResponse": {"name": "1 string", "version": "2 string", "extensions": "3 list string"},
        "ModelMetadataRequest": _VERSIONED,
        "TensorMetadata": {"name": "1 string", "datatype": "2 string", "shape": "3 list int64"},
        "ModelMetadataResponse": {
            "name": "1 string",
            "versions": "2 list string",
            "platform": "3 string",
            "inputs": "4 list TensorMetadata",
            "outputs": "5 list TensorMetadata",
        },
        "InferParameter": {
            "bool_param": "1 bool one",
            "int64_param": "2 int64 one",
            "string_param": "3 string one",
            "double_param": "4 double one",
            "uint64_param": "5 uint64 one",
        },
        "InferTensorContents": {
            "bool_contents": "1 list bool",
            "int_contents": "2 list int32",
            "int64_contents": "3 list int64",
            "uint_contents": "4 list uint32",
            "uint64_contents": "5 list uint64",
            "fp32_contents": "6 list float",
            "fp64_contents": "7 list double",
            "bytes_contents": "8 list bytes",
        },
        "InferInputTensor": _TENSOR,
        "InferRequestedOutputTensor": {"name": "1 string", "parameters": "2 map InferParameter"},
        "ModelInferRequest": {
            "model_name": "1 string",
            "model_version": "2 string",
            "id": "3 string",
            "parameters": "4 map InferParameter",
            "inputs": "5 list InferInputTensor",
            "outputs": "6 list InferRequestedOutputTensor",
            "raw_input_contents": "7 list bytes",
        },
        "InferOutputTensor": _TENSOR,
        "ModelInferResponse": {
            "model_name": "1 string",
            "model_version": "2 string",
            "id": "3 string",
            "parameters": "4 map InferParameter",
            "outputs": "5 list InferOutputTensor",
            "raw_output_contents": "6 list bytes",
        },
        # A data type is an enumeration on NVIDIA's side; on the wire that is a number.
        "ModelInput": {"name": "1 string", "data_type": "2 int32", "dims": "4 list int64"},
        "ModelOutput": {"name": "1 string", "data_type": "2 int32", "dims": "3 list int64"},
        "ModelConfig": {
            "name": "1 string",
            "platform": "2 string",
            "max_batch_size": "4 int32",
            "input": "5 list ModelInput",
            "output": "6 list ModelOutput",
            "backend": "17 string",
        },
        "ModelConfigRequest": _VERSIONED,
        "ModelConfigResponse": {"config": "1 ModelConfig"},
        "RepositoryIndexRequest": {"repository_name": "1 string", "ready": "2 bool"},
        "ModelIndex": {"name": "1 string", "version": "2 string", "state": "3 string", "reason": "4 string"},
        "RepositoryIndexResponse": {"models": "1 list ModelIndex"},
    },
    "grpc.health.v1": {"HealthCheckRequest": {"service": "1 string"}, "HealthCheckResponse": {"status": "1 int32"}},
    "google.rpc": {
        "Duration": {"seconds": "1 int64", "nanos": "2 int32"},
        "RetryInfo": {"retry_delay": "1 Duration"},
        "Any": {"type_url": "1 string", "value": "2 bytes"},
        "Status": {"code": "1 int32", "message": "2 string", "details": "3 list Any"},
    },
}
"""Package → message → fields. Where the originals nest one message in another the bytes are the same."""


def _described(package: str, messages: Mapping[str, Fields]) -> descriptor_pb2.FileDescriptorProto:
    """Return the description of a package as protobuf has it."""
    file = descriptor_pb2.FileDescriptorProto(name=f"strop/{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, words in fields.items():
            number, *kinds = words.split()
            row = message.field.add(name=field, number=int(number), label=3 if kinds[0] in ("list", "map") else 1)
            if "one" in kinds:
                row.oneof_index = 0
                if not message.oneof_decl:
                    message.oneof_decl.add(name="choice")
            kind = kinds[1] if kinds[0] in ("list", "map") else kinds[0]
            if kinds[0] == "map":
                entry = message.nested_type.add(name=f"{field.capitalize()}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=1, type=_SCALARS["string"])
                entry.field.add(name="value", number=2, label=1, type=11, type_name=f".{package}.{kind}")
                row.type, row.type_name = 11, f".{package}.{name}.{entry.name}"
            elif kind in _SCALARS:
                row.type = _SCALARS[kind]
            else:
                row.type, row.type_name = 11, f".{package}.{kind}"
    return file


def _classes() -> dict[str, Any]:
    pool, found = descriptor_pool.DescriptorPool(), {}
    for package, messages in _PACKAGES.items():
        pool.Add(_described(package, messages))
        for name in messages:
            found[name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
    return found


MESSAGES: Mapping[str, Any] = MappingProxyType(_classes())
"""Name → message class, in the private pool."""


def retry_details(code: int, message: str, seconds: float) -> bytes:
    """Return the status that tells a client when to try again, as gRPC's header ``grpc-status-details-bin`` carries it."""
    whole = int(seconds)
    delay = MESSAGES["Duration"](seconds=whole, nanos=int((seconds - whole) * 1e9))
    info = MESSAGES["RetryInfo"](retry_delay=delay).SerializeToString()
    detail = MESSAGES["Any"](type_url="type.googleapis.com/google.rpc.RetryInfo", value=info)
    encoded: bytes = MESSAGES["Status"](code=code, message=message, details=[detail]).SerializeToString()
    return encoded
