"""The client's side of the Open Inference Protocol v2 over HTTP: what a model takes, and bodies of requests.

Specification: kserve/open-inference-protocol, ``specification/protocol/inference_rest.md``; binary tensors:
triton-inference-server/server, ``docs/protocol/extension_binary_data.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strop.errors import StropError, UsageError, did_you_mean

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16", "BF16": "float32", "FP32": "float32",
    "FP64": "float64", "BYTES": "object",
}  # fmt: skip
"""Datatype of the protocol → dtype its values are drawn in; ``BF16`` becomes the upper half of its ``float32``."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model; ``-1`` in the shape marks a dimension that varies."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent: a body, and the headers that describe it."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def read_tensors(metadata: Any) -> tuple[Tensor, ...]:
    """Read the inputs out of a model's metadata.

    Raises:
        StropError: the server's answer is not what the protocol prescribes, or names an unknown datatype.
    """
    try:
        inputs = tuple(
            Tensor(str(row["name"]), str(row["datatype"]), tuple(map(int, row["shape"]))) for row in metadata["inputs"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StropError(f"the server's metadata of the model does not follow the Open Inference Protocol: {error!r}") from error
    for tensor in inputs:
        if tensor.datatype not in DATATYPES:
            raise StropError(f"input {tensor.name!r} has datatype {tensor.datatype!r}.{did_you_mean(tensor.datatype, DATATYPES)}")
    return inputs


def random_requests(
    inputs: Sequence[Tensor],
    count: int,
    *,
    batch: int = 1,
    lengths: tuple[int, int] = (16, 16),
    binary: bool = False,
    seed: int = 0,
) -> list[Request]:
    """Draw requests within the declared shapes.

    The first dimension becomes ``batch`` where it varies; the other dimensions that vary share one length per request.
    Integers are 0 or 1, which token ids, masks and token types all allow; give real requests where values matter.

    Args:
        inputs: what the model takes.
        count: different requests.
        batch: rows of each.
        lengths: shortest and longest of the other dimensions that vary.
        binary: tensors as raw bytes, and answers too.
        seed: of values and lengths.
    """
    generator = np.random.default_rng(seed)
    requests = []
    for _ in range(count):
        length = int(generator.integers(lengths[0], lengths[1], endpoint=True))
        values = [(tensor, _values(tensor, _shape(tensor, batch, length), generator)) for tensor in inputs]
        requests.append(encode(values, binary=binary))
    return requests


def encode(values: Iterable[tuple[Tensor, NDArray[Any]]], *, binary: bool) -> Request:
    """Write one inference request from arrays whose dtype is that of :data:`DATATYPES`."""
    rows: list[dict[str, Any]] = []
    raw = []
    for tensor, array in values:
        row: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(array.shape)}
        if binary:
            raw.append(raw_bytes(tensor.datatype, array))
            row["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            row["data"] = array.ravel().tolist()
        rows.append(row)
    request: dict[str, Any] = {"inputs": rows}
    if not binary:
        return Request(body=json.dumps(request).encode())
    head = json.dumps(request | {"parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(body=head + b"".join(raw), headers=headers)


def raw_bytes(datatype: str, array: NDArray[Any]) -> bytes:
    """Return a tensor as the extension wants it: little-endian, row-major; ``BYTES`` elements after their 4-byte lengths."""
    if datatype == "BYTES":
        elements = [str(element).encode() for element in array.ravel()]
        return b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    if datatype == "BF16":
        return bytes((np.ascontiguousarray(array, dtype="<f4").view("<u4") >> 16).astype("<u2").tobytes())
    return np.ascontiguousarray(array, dtype=np.dtype(DATATYPES[datatype]).newbyteorder("<")).tobytes()


def read_requests(path: Path, inputs: Sequence[Tensor]) -> list[Request]:
    """Read inference requests: one from a ``.json`` file, one per line from a ``.jsonl`` file.

    Args:
        path: the file.
        inputs: what the model takes; names in the file are compared with it.

    Raises:
        UsageError: the file cannot be read, or an entry is no inference request for this model; the message names the line.
    """
    known = [tensor.name for tensor in inputs]
    requests = []
    for place, text in read_bodies(path):
        try:
            names = [row["name"] for row in json.loads(text)["inputs"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f'{place}: an inference request {{"inputs": [{{"name": …}}]}} was expected: {error!r}') from error
        for name in names:
            if name not in known:
                raise UsageError(f"{place}: the model has no input {name!r}.{did_you_mean(str(name), known)}")
        requests.append(Request(body=text.encode()))
    return requests


def read_bodies(path: Path) -> list[tuple[str, str]]:
    """Return place in the file → text of each JSON value.

    Raises:
        UsageError: the file cannot be read, is empty, or holds something that is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"requests cannot be read from {path}: {error}") from error
    parts = [(str(path), text)]
    if path.suffix == ".jsonl":
        parts = [(f"{path}, line {number}", line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    for place, part in parts:
        try:
            json.loads(part)
        except ValueError as error:
            raise UsageError(f"{place} is not JSON: {error}") from error
    if not parts:
        raise UsageError(f"{path} holds no request")
    return parts


def _shape(tensor: Tensor, batch: int, length: int) -> tuple[int, ...]:
    return tuple((batch if place == 0 else length) if size < 0 else size for place, size in enumerate(tensor.shape))


def _values(tensor: Tensor, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[Any]:
    dtype = np.dtype(DATATYPES[tensor.datatype])
    if dtype.kind == "O":
        return np.array([f"text {number}" for number in range(int(np.prod(shape)))], dtype=object).reshape(shape)
    if dtype.kind == "f":
        return generator.standard_normal(shape).round(3).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)
