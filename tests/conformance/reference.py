"""The smallest server that keeps the protocol, for testing the suite itself; one of :data:`FAULTS` can be planted in it.

It is an identity with one input per datatype, written for reading and not for speed.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from aiohttp import web

from tests.threaded_server import ThreadedServer

SIZES = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
DATATYPES = (*SIZES, "BF16", "BYTES")
MODELS = {"identity": ("FP32", "INT64"), "many": DATATYPES}
LIMIT = 4 << 20

FAULTS = {
    "not live": "check_live",
    "no body of health": "check_health_is_told_in_the_body",
    "everything is ready": "check_unknown_model_is_not_ready",
    "drops the id": "check_id_is_returned",
    "returns every output": "check_only_requested_outputs",
    "takes any input": "check_an_unknown_input_is_refused",
    "takes any datatype": "check_a_wrong_datatype_is_refused",
    "takes any size": "check_data_of_another_size_than_the_shape_is_refused[too few]",
    "numbers through floats": "check_json_datatype[INT64]",
    "big endian": "check_binary_datatype[INT32]",
    "ignores binary_data": "check_json_in_binary_out",
    "header names as written": "check_header_names_have_no_case[CONTENT-TYPE]",
    "errors without words": "check_a_body_that_is_no_request_is_refused[{]",
    "unknown is 400": "check_unknown_model_is_404",
    "reads any length": "check_too_large_is_413",
    "shifts rows": "check_answers_do_not_mix",
    "leftover bytes": "check_a_wrong_binary_size_is_refused",
    "server's fault": "check_deep_json_is_refused",
}
"""Fault → a check that must find it."""


class Refusal(Exception):
    """The request cannot be answered; carries the status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Reference(ThreadedServer):
    """The server, in a thread of its own. A context manager.

    Args:
        fault: a key of :data:`FAULTS`, or nothing.

    Attributes:
        url: where it listens.
    """

    def __init__(self, fault: str = "") -> None:
        assert not fault or fault in FAULTS
        self._fault = fault

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 50, middlewares=[self._in_words])
        models = "/v2/models/{name}"
        app.router.add_get("/v2", self._server)
        app.router.add_get("/v2/health/live", self._health)
        app.router.add_get("/v2/health/ready", self._health)
        for prefix in (models, models + "/versions/{version}"):
            app.router.add_get(prefix, self._metadata)
            app.router.add_get(prefix + "/ready", self._ready)
            app.router.add_post(prefix + "/infer", self._infer)
        return app

    @web.middleware
    async def _in_words(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[no-any-return]
        except Refusal as refusal:
            if self._fault == "errors without words":
                return web.Response(status=refusal.status)
            return web.json_response({"error": str(refusal)}, status=refusal.status)

    async def _server(self, request: web.Request) -> web.Response:
        return web.json_response({"name": "reference", "version": "1", "extensions": ["binary_tensor_data"]})

    async def _health(self, request: web.Request) -> web.Response:
        if self._fault == "no body of health":
            return web.Response()
        return web.json_response({"live": True, "ready": True}, status=500 if self._fault == "not live" else 200)

    async def _ready(self, request: web.Request) -> web.Response:
        if self._fault != "everything is ready":
            self._datatypes(request)
        return web.json_response({"name": request.match_info["name"], "ready": True})

    async def _metadata(self, request: web.Request) -> web.Response:
        inputs, outputs = (
            [{"name": f"{letter}_{d.lower()}", "datatype": d, "shape": [-1, -1]} for d in self._datatypes(request)]
            for letter in "xy"
        )
        name = request.match_info["name"]
        return web.json_response({"name": name, "versions": ["1"], "platform": "none", "inputs": inputs, "outputs": outputs})

    def _datatypes(self, request: web.Request) -> tuple[str, ...]:
        name, version = request.match_info["name"], request.match_info.get("version", "1")
        if name not in MODELS or version != "1":
            raise Refusal(400 if self._fault == "unknown is 400" else 404, "there is no such model or version")
        return MODELS[name]

    async def _infer(self, request: web.Request) -> web.Response:
        datatypes = self._datatypes(request)
        if (request.content_length or 0) > LIMIT and self._fault != "reads any length":
            raise Refusal(413, f"a body may have {LIMIT} bytes")
        body = await request.read()
        head = self._head_length(request, len(body))
        asked, raw = self._json(body[:head]), body[head:]
        tensors = self._tensors(asked, raw, datatypes)
        return self._answer(request.match_info["name"], asked, tensors)

    def _head_length(self, request: web.Request, length: int) -> int:
        if self._fault == "header names as written":
            names = [name.decode() for name, _ in request.raw_headers]
            given = request.headers["Inference-Header-Content-Length"] if "Inference-Header-Content-Length" in names else None
        else:
            given = request.headers.get("Inference-Header-Content-Length")
        if given is None:
            return length
        if not given.isdigit() or int(given) > length:
            raise Refusal(400, "Inference-Header-Content-Length is no length inside the body")
        return int(given)

    def _json(self, text: bytes) -> dict[str, Any]:
        try:
            value = json.loads(text, parse_int=float if self._fault == "numbers through floats" else int)
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}") from error
        except RecursionError as error:
            raise Refusal(500 if self._fault == "server's fault" else 400, "the body is nested too deeply") from error
        if not isinstance(value, dict) or not isinstance(value.get("inputs"), list):
            raise Refusal(400, "an object with inputs was expected")
        return value

    def _tensors(self, asked: dict[str, Any], raw: bytes, datatypes: tuple[str, ...]) -> list[tuple[str, list[int], list[Any]]]:
        found: dict[str, tuple[str, list[int], list[Any]]] = {}
        for row in asked["inputs"]:
            if not isinstance(row, dict) or not {"name", "datatype", "shape"} <= row.keys():
                raise Refusal(400, "an input has a name, a datatype and a shape")
            name, datatype, shape = row["name"], row["datatype"], row["shape"]
            known = {f"x_{d.lower()}": d for d in datatypes}
            if self._fault == "takes any input" and name not in known:
                name = next(iter(known))
            if name not in known or name in found:
                raise Refusal(400, f"input {str(name)[:40]!r} is unknown or given twice")
            if datatype != known[name] and (self._fault != "takes any datatype" or datatype not in DATATYPES):
                raise Refusal(400, f"input {name} has datatype {known[name]}")
            whole = self._fault == "numbers through floats"
            shape = (
                [int(n) for n in shape]
                if whole and isinstance(shape, list) and all(isinstance(n, float) for n in shape)
                else shape
            )
            if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 <= n < 2**32 for n in shape):
                raise Refusal(400, f"input {name} has two dimensions")
            size = row.get("parameters", {}).get("binary_data_size")
            if size is not None:
                flat, raw = self._unpack(known[name], raw[: int(size)], int(size)), raw[int(size) :]
            else:
                flat = _flat(row.get("data"))
            fits = all(isinstance(v, str) == (known[name] == "BYTES") for v in flat)
            if not fits or (len(flat) != math.prod(shape) and self._fault != "takes any size"):
                raise Refusal(400, f"the data of input {name} does not fit its shape or datatype")
            found[name] = (datatype, shape, flat)
        if len(found) < len(datatypes) and not (found and self._fault == "takes any input"):
            raise Refusal(400, "an input is missing")
        if raw and self._fault != "leftover bytes":
            raise Refusal(400, "there are bytes that belong to no input")
        return list(found.values())

    def _answer(self, model: str, asked: dict[str, Any], tensors: list[tuple[str, list[int], list[Any]]]) -> web.Response:
        wanted = {row.get("name"): row.get("parameters", {}) for row in asked.get("outputs") or []}
        names = [f"y_{datatype.lower()}" for datatype, _, _ in tensors]
        if not wanted.keys() <= set(names):
            raise Refusal(400, "there is no such output")
        rows, raw = [], b""
        everything = asked.get("parameters", {}).get("binary_data_output", False)
        for name, (datatype, shape, flat) in zip(names, tensors, strict=True):
            if wanted and name not in wanted and self._fault != "returns every output":
                continue
            row: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
            if self._fault == "shifts rows" and asked.get("id") == "7":
                flat = flat[1:] + flat[:1]
            if wanted.get(name, {}).get("binary_data", everything) and self._fault != "ignores binary_data":
                part = self._pack(datatype, flat)
                raw, row["parameters"] = raw + part, {"binary_data_size": len(part)}
            else:
                row["data"] = flat
            rows.append(row)
        answer = {"model_name": model, "model_version": "1", "outputs": rows}
        if "id" in asked and self._fault != "drops the id":
            answer["id"] = asked["id"]
        head = json.dumps(answer).encode()
        if not raw:
            return web.Response(body=head, content_type="application/json")
        headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
        return web.Response(body=head + raw, headers=headers)

    def _pack(self, datatype: str, flat: list[Any]) -> bytes:
        if datatype == "BYTES":
            return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in flat)
        if datatype == "BF16":
            return b"".join(struct.pack("<f", v)[2:] for v in flat)
        order = ">" if self._fault == "big endian" else "<"
        return struct.pack(f"{order}{len(flat)}{SIZES[datatype]}", *flat)

    def _unpack(self, datatype: str, raw: bytes, size: int) -> list[Any]:
        if len(raw) != size:
            raise Refusal(400, "there are fewer bytes than binary_data_size says")
        try:
            if datatype == "BYTES":
                return _texts(raw)
            if datatype == "BF16":
                return [struct.unpack("<f", b"\x00\x00" + raw[n : n + 2])[0] for n in range(0, size, 2)]
            width = struct.calcsize(SIZES[datatype])
            return list(struct.unpack(f"<{size // width}{SIZES[datatype]}", raw))
        except (struct.error, UnicodeDecodeError) as error:
            raise Refusal(400, "the bytes do not fit the datatype") from error


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise Refusal(400, "data is an array")
    return [leaf for part in data for leaf in (_flat(part) if isinstance(part, list) else [part])]


def _texts(raw: bytes) -> list[Any]:
    found = []
    while raw:
        (length,) = struct.unpack("<I", raw[:4])
        found.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return found
