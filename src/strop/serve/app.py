"""The service without a server: a request in, a response out. Any front that can call a coroutine can host it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata as distributions
from typing import Any, NamedTuple

from strop.contract.signature import Signature
from strop.serve.desk import Desk
from strop.serve.held import Gone
from strop.serve.limits import Limits
from strop.serve.oip import HEADER_LENGTH, JSON, Codec, dumps, metadata, model_config
from strop.serve.priority import share_lock
from strop.serve.problem import Problem
from strop.serve.request import Outcome
from strop.units import Bytes

VERSION = "1"
CONTENT = frozenset({"", "application/json", "application/octet-stream", "application/x-www-form-urlencoded"})
"""Media types of bodies that are read; the last is what curl says unless told otherwise."""

CLOSE = (("connection", "close"),)
LARGE = Problem(413, "the body is larger than allowed.", headers=CLOSE)

Headers = tuple[tuple[str, str], ...]


class Response(NamedTuple):
    """An answer: HTTP status, body, headers in lower case."""

    status: int
    body: bytes = b""
    headers: Headers = (JSON,)


class App:
    """Speaks the Open Inference Protocol v2 for one model.

    Args:
        desk: answers calls.
        signature: of the model.
        name: of the model, as in its URL.
        platform: engine that runs it.
        limits: bounds on requests.
    """

    def __init__(self, desk: Desk, signature: Signature, *, name: str, platform: str, limits: Limits) -> None:
        self.desk, self.name, self.limits, self.signature = desk, name, limits, signature
        self.codec = Codec(signature, limits)
        self.metadata = metadata(signature, name, VERSION, platform)
        self.held: Bytes = 0
        self.open = 0
        policy = desk.scheduler.policy
        self.config = model_config(signature, name, platform, policy.max_rows if desk.stacker.batchable else 0)
        model, versioned = f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"
        self.infer_paths = frozenset({f"{model}/infer", f"{versioned}/infer"})
        pages = {"": self.metadata, "/config": self.config}
        self._pages = {f"{base}{path}": dumps(page) for base in (model, versioned) for path, page in pages.items()}
        self._pages |= {"/v2": dumps(server_metadata()), "/v2/models": dumps({"models": [name]})}
        self._checks = {"/v2/health/live": ("live", _always), "/v2/health/ready": ("ready", self._ready)}
        self._checks |= {f"{base}/ready": ("ready", self._ready) for base in (model, versioned)}

    def refuses(self, method: str, headers: Mapping[str, str]) -> Problem | None:
        """Say why an inference request can be refused before its body is read, or return ``None``."""
        if method != "POST":
            return Problem(405, "use POST.", headers=(("allow", "POST"),))
        if headers.get("content-encoding", "identity") != "identity":
            return Problem(415, "compressed bodies are not read.")
        kind = headers.get("content-type", "")
        if kind not in CONTENT and kind.partition(";")[0].strip().lower() not in CONTENT:
            return Problem(415, "the body must be application/json, or application/octet-stream with binary tensor data.")
        return None

    def crowded(self, size: Bytes) -> Problem | None:
        """Say why a body of ``size`` bytes cannot be taken beside those that are held, or return ``None``."""
        if size > self.limits.body:
            return LARGE
        if self.held + size > self.limits.bodies:
            return Problem(429, "too many bytes are being read.", retry=1.0, headers=CLOSE)
        if self.open >= self.limits.connections:
            return Problem(429, "too many requests are being handled.", retry=1.0)
        return None

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes, gone: Gone | None = None) -> Response:
        """Answer a request.

        Args:
            method: HTTP method.
            path: without the query.
            headers: by lower-case name.
            body: all of it.
            gone: returns when the client has left.
        """
        if path not in self.infer_paths:
            return self.look(method, path)
        problem = self.refuses(method, headers) or self.crowded(len(body))
        if problem is not None:
            return self.refused(problem)
        return await self.infer(headers.get(HEADER_LENGTH), body, gone)

    def enter(self, size: Bytes) -> None:
        """Note that a request of ``size`` bytes is being handled."""
        self.held += size
        self.open += 1
        if self.open == 2:
            share_lock(several=True)

    def leave(self, size: Bytes) -> None:
        """Note that one is no longer."""
        self.held -= size
        self.open -= 1
        if self.open == 1:
            share_lock(several=False)

    def refused(self, problem: Problem) -> Response:
        """Return the answer to an inference request that was refused unread, and account for it."""
        self.count(problem)
        return failed(problem)

    def count(self, problem: Problem) -> None:
        """Account for an inference request that never came to the scheduler."""
        if problem.status == 429:
            self.desk.reject("rejected", Outcome.REFUSED)
        else:
            self.desk.reject("invalid")

    async def infer(self, header_length: str | None, body: bytes, gone: Gone | None) -> Response:
        """Answer an inference request that was not refused; see :meth:`handle`."""
        try:
            call = self.codec.read(body, header_length)
        except Problem as problem:
            return self.refused(problem)
        try:
            answers = await self.desk.answer(call, len(body), gone)
            try:
                written, headers = self.codec.write(call, answers, self.name, VERSION)
            except Problem:
                self.desk.take_back("unsayable")
                raise
            return Response(200, written, headers)
        except Problem as problem:
            return failed(problem, call.identifier)

    def look(self, method: str, path: str) -> Response:
        """Answer any other request."""
        if path == "/v2/repository/index":
            return self._index(method)
        if path not in self._pages and path not in self._checks:
            return failed(Problem(404, f"there is nothing here; the model's path is /v2/models/{self.name}."))
        if method not in ("GET", "HEAD"):
            return failed(Problem(405, "use GET.", headers=(("allow", "GET, HEAD"),)))
        if path in self._pages:
            return Response(200, self._pages[path])
        word, check = self._checks[path]
        good = check()
        row: dict[str, Any] = {word: good} if "models" not in path else {"name": self.name, word: good}
        return Response(200 if good else 503, dumps(row))

    def _index(self, method: str) -> Response:
        """List the model as Triton's repository extension does; clients ask for it to learn the name. It loads nothing."""
        if method != "POST":
            return failed(Problem(405, "use POST.", headers=(("allow", "POST"),)))
        return Response(200, dumps(self.index()))

    def index(self) -> list[dict[str, str]]:
        """List the model and its state."""
        state = "READY" if self.desk.ready else "UNAVAILABLE"
        return [{"name": self.name, "version": VERSION, "state": state, "reason": self.desk.trouble}]

    def _ready(self) -> bool:
        return self.desk.ready


def failed(problem: Problem, identifier: str = "") -> Response:
    """Return the answer that tells a problem."""
    row = {"error": problem.message, "id": identifier} if identifier else {"error": problem.message}
    return Response(problem.status, dumps(row), (JSON, *problem.headers))


def server_metadata() -> dict[str, Any]:
    """Return what the server says about itself."""
    extensions = ["binary_tensor_data", "model_configuration", "schedule_policy"]
    return {"name": "strop", "version": distributions.version("strop"), "extensions": extensions}


def _always() -> bool:
    return True
