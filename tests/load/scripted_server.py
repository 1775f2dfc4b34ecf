"""A real HTTP server on a real socket whose answers a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.threaded_server import ThreadedServer

Answer = Callable[[int], Awaitable[web.StreamResponse]]
"""``answer(number)`` of the nth inference request, counted from 0; the rehearsal is number 0."""

METADATA: dict[str, Any] = {
    "name": "echo",
    "platform": "test",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
    ],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
}


async def at_once(number: int) -> web.StreamResponse:
    """Answer 200."""
    return web.json_response({"model_name": "echo", "outputs": []})


def statuses(*cycle: int) -> Answer:
    """Answer with these statuses in turn."""

    async def answer(number: int) -> web.StreamResponse:
        return web.json_response({"error": "planted"}, status=cycle[number % len(cycle)])

    return answer


def slow(seconds: float) -> Answer:
    """Answer 200 late."""

    async def answer(number: int) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await at_once(number)

    return answer


class ScriptedServer(ThreadedServer):
    """Serves one model in a thread of its own. A context manager.

    Args:
        answer: to inference requests.
        models: names in the repository index; ``None``: there is no index.
        metadata: of every model in it.

    Attributes:
        url: where it listens.
        bodies: inference requests so far.
        headers: theirs.
    """

    def __init__(self, answer: Answer = at_once, models: list[str] | None = None, metadata: Any = METADATA) -> None:
        self._answer, self._models, self._metadata = answer, models, metadata
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_post("/v2/repository/index", self._index)
        app.router.add_get("/v2/models/{name}", self._describe)
        app.router.add_post("/v2/models/{name}/infer", self._infer)
        app.router.add_post("/anything", self._infer)
        app.router.add_get("/text", self._text)
        return app

    async def _index(self, request: web.Request) -> web.Response:
        if self._models is None:
            return web.Response(status=404)
        return web.json_response([{"name": name, "state": "READY"} for name in self._models])

    async def _text(self, request: web.Request) -> web.Response:
        return web.Response(text="words")

    async def _describe(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in (self._models or ["echo"]):
            return web.json_response({"error": "unknown"}, status=404)
        return web.json_response(self._metadata)

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        number = len(self.bodies)
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        return await self._answer(number)
