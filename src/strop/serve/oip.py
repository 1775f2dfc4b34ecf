"""The Open Inference Protocol v2 on HTTP: bodies to calls and answers to bodies. No sockets here.

JSON and the binary tensor data extension: with ``Inference-Header-Content-Length`` the body is a JSON header of that
many bytes, followed by the raw little-endian contents of every tensor that gives ``binary_data_size``.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; the extension is NVIDIA Triton's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from strop.contract.signature import Signature, TensorSpec
from strop.errors import MissingExtraError
from strop.serve.call import Array, InferenceCall, read_options, shown
from strop.serve.datatypes import OF_NUMPY
from strop.serve.limits import Limits
from strop.serve.problem import Problem, bad
from strop.serve.tensors import Inputs, from_bytes, from_list, within

try:
    import orjson
except ImportError as error:
    raise MissingExtraError("strop serve", "serve") from error

dumps = orjson.dumps
"""Write JSON. Others import it from here, so that a missing package is told in one place."""
JSON = ("content-type", "application/json")
BINARY = ("content-type", "application/octet-stream")
HEADER_LENGTH = "inference-header-content-length"


class Codec:
    """Reads and writes the inference bodies of one model.

    Args:
        signature: its inputs and outputs.
        limits: bounds on what is read.
    """

    def __init__(self, signature: Signature, limits: Limits) -> None:
        self._limits = limits
        self._inputs = Inputs(signature, limits)
        self._outputs = {spec.name: place for place, spec in enumerate(signature.outputs)}
        self._every = {binary: [(place, binary) for place in self._outputs.values()] for binary in (False, True)}
        self._heads = [{"name": spec.name, "datatype": OF_NUMPY[spec.dtype]} for spec in signature.outputs]

    def read(self, body: bytes, header_length: str | None) -> InferenceCall:
        """Read a request.

        Args:
            body: the whole body.
            header_length: value of the header ``Inference-Header-Content-Length``, or ``None``.

        Raises:
            Problem: the body cannot be read or does not fit the model; the message says what and where.
        """
        size = len(body) if header_length is None else _header_size(header_length, len(body))
        try:
            row = orjson.loads(body if size == len(body) else memoryview(body)[:size])
        except orjson.JSONDecodeError as error:
            raise bad(f"the request is not valid JSON: {error.msg}.") from error
        if not isinstance(row, dict):
            raise bad(f"the request must be a JSON object; it is a {type(row).__name__}.")
        parameters = row.get("parameters") or {}
        level, timeout = read_options(parameters)
        identifier = row.get("id", "")
        if not isinstance(identifier, str) or len(identifier) > self._limits.name:
            raise bad(f"id must be text of at most {self._limits.name} characters.")
        arrays = self._read_inputs(row.get("inputs"), memoryview(body)[size:])
        outputs = self._read_outputs(row.get("outputs"), parameters)
        return InferenceCall(arrays=arrays, outputs=outputs, identifier=identifier, level=level, timeout=timeout)

    def write(
        self, call: InferenceCall, answers: Sequence[Array], name: str, version: str
    ) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        """Write an answer; return its body and headers.

        Args:
            call: what was asked.
            answers: all outputs in the order of the signature.
            name: of the model.
            version: of the model.

        Raises:
            Problem: JSON was asked for, and the answer holds values that JSON does not have.
        """
        rows, parts = [], []
        for place, binary in call.outputs:
            array = answers[place]
            row: dict[str, Any] = {**self._heads[place], "shape": list(array.shape)}
            if binary:
                parts.append(array.tobytes())
                row["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                if array.dtype.kind == "f" and not within(array) and not np.isfinite(array).all():
                    raise Problem(500, f"output {row['name']!r} is not finite, which JSON cannot say; ask for it as binary data.")
                row["data"] = array.ravel()
            rows.append(row)
        answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": rows}
        if call.identifier:
            answer["id"] = call.identifier
        head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        if not parts:
            return head, (JSON,)
        return b"".join((head, *parts)), (BINARY, (HEADER_LENGTH, str(len(head))))

    def _read_inputs(self, rows: object, binary: memoryview) -> list[Array]:
        if not isinstance(rows, list):
            raise bad(f"the request needs a list of inputs: {self._inputs.names}.")
        found = self._inputs.empty(len(rows))
        start = 0
        for row in rows:
            if not isinstance(row, dict):
                raise bad("every input must be an object with a name.")
            slot, shape, count = self._inputs.claim(found, row.get("name"), row.get("datatype"), row.get("shape"))
            options = row.get("parameters")
            size = options.get("binary_data_size") if isinstance(options, dict) else None
            if size is None:
                found[slot.place] = from_list(slot, shape, count, row.get("data"))
            else:
                found[slot.place] = from_bytes(slot, shape, count, size, binary[start:])
                start += size
        if start != len(binary):
            raise bad(f"{len(binary) - start} bytes follow that belong to no input.")
        return self._inputs.whole(found)

    def _read_outputs(self, rows: object, parameters: Mapping[str, Any]) -> list[tuple[int, bool]]:
        default = parameters.get("binary_data_output", False) is True
        if rows is None or rows == []:
            return self._every[default]
        if not isinstance(rows, list) or len(rows) > self._limits.tensors:
            raise bad(f"outputs must be a list of at most {self._limits.tensors}.")
        asked: dict[int, bool] = {}
        for row in rows:
            name = row.get("name") if isinstance(row, dict) else None
            if not isinstance(name, str) or name not in self._outputs:
                raise bad(f"there is no output {shown(name)!r}; the model gives {', '.join(self._outputs)}.")
            options = row.get("parameters") or {}
            if not isinstance(options, dict):
                raise bad(f"output {name!r}: parameters must be an object.")
            asked[self._outputs[name]] = options.get("binary_data", default) is True
        return list(asked.items())


def metadata(signature: Signature, name: str, version: str, platform: str) -> dict[str, Any]:
    """Return the metadata of a model."""

    def tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [
            {"name": s.name, "datatype": OF_NUMPY[s.dtype], "shape": [-1 if size is None else size for size in s.shape]}
            for s in specs
        ]

    return {
        "name": name,
        "versions": [version],
        "platform": platform,
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
    }


def model_config(signature: Signature, name: str, platform: str, max_rows: int) -> dict[str, Any]:
    """Return what NVIDIA's clients call the configuration of a model; without a batch dimension ``max_rows`` is 0."""

    def tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [
            {
                "name": s.name,
                "data_type": f"TYPE_{OF_NUMPY[s.dtype]}",
                "dims": [-1 if size is None else size for size in (s.shape[1:] if max_rows else s.shape)],
            }
            for s in specs
        ]

    return {
        "name": name,
        "platform": platform,
        "backend": "strop",
        "max_batch_size": max_rows,
        "input": tensors(signature.inputs),
        "output": tensors(signature.outputs),
    }


def _header_size(text: str, available: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) > available:
        raise bad(f"the header Inference-Header-Content-Length must be a number of bytes within the body; {shown(text)!r} came.")
    return int(text)
