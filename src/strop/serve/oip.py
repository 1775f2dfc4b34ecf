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
from strop.serve.call import Array, InferenceCall, check_shape, read_options, shown
from strop.serve.datatypes import OF_NUMPY, datatype_of
from strop.serve.limits import Limits
from strop.serve.problem import Problem, bad

try:
    import orjson
except ImportError as error:
    raise MissingExtraError("strop serve", "serve") from error

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
        self._inputs = {spec.name: (place, spec, np.dtype(spec.dtype)) for place, spec in enumerate(signature.inputs)}
        self._outputs = {spec.name: place for place, spec in enumerate(signature.outputs)}
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
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise Problem(500, f"output {row['name']!r} is not finite, which JSON cannot say; ask for it as binary data.")
                row["data"] = np.ascontiguousarray(array).reshape(-1)
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
            raise bad(f"the request needs a list of inputs: {', '.join(self._inputs)}.")
        if len(rows) > self._limits.tensors:
            raise bad(f"{len(rows)} inputs came; at most {self._limits.tensors} are read.")
        found: list[Array | None] = [None] * len(self._inputs)
        start = 0
        for row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                raise bad("every input must be an object with a name.")
            if row["name"] not in self._inputs:
                raise bad(f"there is no input {shown(row['name'])!r}; the model takes {', '.join(self._inputs)}.")
            place, spec, dtype = self._inputs[row["name"]]
            if found[place] is not None:
                raise bad(f"input {spec.name!r} came twice.")
            if row.get("datatype") != OF_NUMPY[spec.dtype]:
                raise bad(f"input {spec.name!r} is {OF_NUMPY[spec.dtype]}; the datatype {shown(row.get('datatype'))} came.")
            shape, count = check_shape(spec, row.get("shape"), self._limits)
            size = (
                (row.get("parameters") or {}).get("binary_data_size") if isinstance(row.get("parameters"), dict | None) else None
            )
            if size is not None:
                found[place] = _from_bytes(spec, dtype, shape, count, size, binary[start:])
                start += size
            else:
                found[place] = _from_json(spec, dtype, shape, count, row.get("data"))
        if start != len(binary):
            raise bad(f"{len(binary) - start} bytes follow that belong to no input.")
        missing = [name for name, (place, _, _) in self._inputs.items() if found[place] is None]
        if missing:
            raise bad(f"the input {missing[0]!r} is missing.")
        return [array for array in found if array is not None]

    def _read_outputs(self, rows: object, parameters: Mapping[str, Any]) -> list[tuple[int, bool]]:
        default = parameters.get("binary_data_output", False) is True
        if rows is None or rows == []:
            return [(place, default) for place in self._outputs.values()]
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


def _from_bytes(
    spec: TensorSpec, dtype: np.dtype[Any], shape: tuple[int, ...], count: int, size: object, rest: memoryview
) -> Array:
    expected = count * dtype.itemsize
    if type(size) is not int or size != expected:
        raise bad(f"input {spec.name!r}: binary_data_size is {shown(size)}, but its shape takes {expected} bytes.")
    if len(rest) < expected:
        raise bad(f"input {spec.name!r}: {expected} bytes were announced, {len(rest)} came.")
    if dtype.kind == "b" and np.frombuffer(rest[:expected], np.uint8).max() > 1:
        raise bad(f"input {spec.name!r}: a BOOL is a byte of 0 or 1.")
    return np.frombuffer(rest[:expected], dtype.newbyteorder("<")).reshape(shape)


def _from_json(spec: TensorSpec, dtype: np.dtype[Any], shape: tuple[int, ...], count: int, data: object) -> Array:
    if not isinstance(data, list):
        raise bad(f"input {spec.name!r} needs data, a list, or binary_data_size in its parameters.")
    try:
        array = np.array(data)
    except (ValueError, OverflowError) as error:
        raise bad(f"input {spec.name!r}: data is not a regular array of numbers.") from error
    if array.size != count or (array.ndim > 1 and array.shape != shape):
        raise bad(f"input {spec.name!r}: data holds {shown(list(array.shape))} elements, but its shape is {shown(list(shape))}.")
    if array.dtype.kind not in _FITTING[dtype.kind]:
        raise bad(f"input {spec.name!r}: data holds something that is no {datatype_of(dtype)}; nothing is converted silently.")
    if array.dtype == dtype:
        return array.reshape(shape)
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if (dtype.kind == "f" and not np.isfinite(converted).all()) or (dtype.kind in "iu" and (converted != array).any()):
        raise bad(f"input {spec.name!r}: data holds values outside of {datatype_of(dtype)}.")
    return converted.reshape(shape)


_FITTING = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
