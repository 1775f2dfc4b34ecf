"""The Open Inference Protocol v2 on gRPC: messages to calls and answers to messages. No sockets here.

Tensors come as raw little-endian bytes or as lists of numbers, never both in one request. An answer is sent the way its
request came: raw, unless numbers came and every output asked for has a field of numbers (half precision has none).

Source: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from strop.contract.signature import Signature
from strop.serve.call import Array, InferenceCall, read_options, shown
from strop.serve.datatypes import OF_NUMPY
from strop.serve.grpc_messages import MESSAGES
from strop.serve.limits import Limits
from strop.serve.problem import bad
from strop.serve.tensors import Inputs, Slot, from_bytes

FIELDS = MappingProxyType(
    {
        "BOOL": "bool_contents",
        "INT8": "int_contents",
        "INT16": "int_contents",
        "INT32": "int_contents",
        "INT64": "int64_contents",
        "UINT8": "uint_contents",
        "UINT16": "uint_contents",
        "UINT32": "uint_contents",
        "UINT64": "uint64_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
    }
)
"""Datatype → field of numbers that it travels in."""
DATA_TYPES = MappingProxyType({name: number for number, name in enumerate(OF_NUMPY.values(), 1)})
"""Datatype → its number in NVIDIA's model configuration, which has them in the same order."""


class GrpcCodec:
    """Reads and writes the inference messages of one model.

    Args:
        signature: its inputs and outputs.
        limits: bounds on what is read.
    """

    def __init__(self, signature: Signature, limits: Limits) -> None:
        self._limits = limits
        self._inputs = Inputs(signature, limits)
        self._outputs = {spec.name: (place, OF_NUMPY[spec.dtype]) for place, spec in enumerate(signature.outputs)}
        self._heads = tuple(self._outputs.items())

    def read(self, request: Any) -> InferenceCall:
        """Read a request, a parsed ``ModelInferRequest``.

        Raises:
            Problem: it does not fit the model; the message says what and where.
        """
        level, timeout = read_options(_options(request.parameters))
        if len(request.id) > self._limits.name:
            raise bad(f"id must be text of at most {self._limits.name} characters.")
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise bad(
                f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; each needs one, in their order."
            )
        found = self._inputs.empty(len(request.inputs))
        for number, row in enumerate(request.inputs):
            slot, shape, count = self._inputs.claim(found, row.name, row.datatype, tuple(row.shape))
            if not raw:
                found[slot.place] = _from_numbers(slot, shape, count, row.contents)
            elif row.HasField("contents"):
                raise bad(f"input {row.name!r} has contents beside raw_input_contents; give one of them.")
            else:
                found[slot.place] = from_bytes(slot, shape, count, len(raw[number]), memoryview(raw[number]))
        places = self._places(request.outputs)
        plain = not raw and all(self._heads[place][1][1] in FIELDS for place in places)
        return InferenceCall(
            arrays=self._inputs.whole(found),
            outputs=[(place, not plain) for place in places],
            identifier=request.id,
            level=level,
            timeout=timeout,
        )

    def write(self, call: InferenceCall, answers: Sequence[Array], name: str, version: str) -> bytes:
        """Write an answer, a serialised ``ModelInferResponse``.

        Args:
            call: what was asked.
            answers: all outputs in the order of the signature.
            name: of the model.
            version: of the model.
        """
        response = MESSAGES["ModelInferResponse"](model_name=name, model_version=version, id=call.identifier)
        for place, raw in call.outputs:
            array, (output, (_, datatype)) = answers[place], self._heads[place]
            row = response.outputs.add(name=output, datatype=datatype, shape=array.shape)
            if raw:
                response.raw_output_contents.append(array.tobytes())
            else:
                getattr(row.contents, FIELDS[datatype]).extend(array.ravel().tolist())
        written: bytes = response.SerializeToString()
        return written

    def _places(self, rows: Sequence[Any]) -> list[int]:
        if len(rows) > self._limits.tensors:
            raise bad(f"{len(rows)} outputs came; at most {self._limits.tensors} are read.")
        for row in rows:
            if row.name not in self._outputs:
                raise bad(f"there is no output {shown(row.name)!r}; the model gives {', '.join(self._outputs)}.")
        names = dict.fromkeys(row.name for row in rows) or self._outputs
        return [self._outputs[name][0] for name in names]


def parse(kind: str, body: bytes) -> Any:
    """Return the message of this kind.

    Raises:
        Problem: the bytes are none.
    """
    try:
        return MESSAGES[kind].FromString(body)
    except DecodeError as error:
        raise bad(f"the bytes that came are no {kind}.") from error


def config_message(config: Mapping[str, Any]) -> bytes:
    """Write the configuration that :func:`strop.serve.oip.model_config` returns as a ``ModelConfigResponse``."""
    rows = {
        part: [{**row, "data_type": DATA_TYPES[row["data_type"].removeprefix("TYPE_")]} for row in config[part]]
        for part in ("input", "output")
    }
    written: bytes = MESSAGES["ModelConfigResponse"](config={**config, **rows}).SerializeToString()
    return written


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are read, as plain values."""
    found = {}
    for name in ("priority", "timeout"):
        if name in parameters:
            kind = parameters[name].WhichOneof("choice")
            found[name] = getattr(parameters[name], kind) if kind else None
    return found


def _from_numbers(slot: Slot, shape: tuple[int, ...], count: int, contents: Any) -> Array:
    """Return an array of one of the typed fields.

    Raises:
        Problem: the numbers are in another field, are more or fewer than the shape takes, or do not fit the datatype.
    """
    name, field = slot.spec.name, FIELDS.get(slot.datatype)
    if field is None:
        raise bad(f"input {name!r} is {slot.datatype}, which has no field in contents; send it in raw_input_contents.")
    numbers = getattr(contents, field)
    others = [f.name for f, _ in contents.ListFields() if f.name != field]
    if others or len(numbers) != count:
        came = f"{len(numbers)} numbers" if not others else f"data in {others[0]}"
        raise bad(f"input {name!r} needs {count} numbers in {field}; {came} came.")
    array = np.array(numbers)
    converted = array.astype(slot.dtype)  # 8 and 16 bits travel as 32
    if slot.dtype.kind in "iu" and (converted != array).any():
        raise bad(f"input {name!r}: contents hold values outside of {slot.datatype}.")
    return converted.reshape(shape)
