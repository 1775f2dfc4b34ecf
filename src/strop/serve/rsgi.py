"""The application on granian's RSGI: reads bodies within the limits, and notices slow and leaving clients.

granian runs a handler outside of any task, so nothing here may lean on the cancelling of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from strop.serve.app import CLOSE, LARGE, App, Response
from strop.serve.oip import HEADER_LENGTH
from strop.serve.problem import Problem
from strop.serve.request import Outcome


class Scope(Protocol):
    """What granian says of a request; ``headers`` has ``get`` by lower-case name, which is all that is used of it."""

    proto: str
    method: str
    path: str
    headers: Mapping[str, str]


class Exchange(Protocol):
    """What granian gives to read a body from and send the answer to."""

    async def __call__(self) -> bytes:
        """Return the whole body."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the body in pieces."""

    async def client_disconnect(self) -> None:
        """Return when the client has left."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send the answer."""


Front = Callable[[Scope, Exchange], Awaitable[None]]
SLOW = Problem(408, "the body did not come in time.", headers=CLOSE)


def front(app: App) -> Front:
    """Return the handler of an application for granian's RSGI interface."""

    async def handle(scope: Scope, proto: Exchange) -> None:
        if scope.proto != "http":
            return
        headers, path, method = scope.headers, scope.path, scope.method
        if path not in app.infer_paths:
            send(proto, app.look(method, path))
            return
        announced = _announced(headers.get("content-length"))
        problem = app.refuses(method, headers) or app.crowded(announced)
        if problem is not None:
            send(proto, app.refused(problem))
            return
        app.held += announced
        app.open += 1
        try:
            body = await _read(app, proto, announced)
            if body is not None:
                response = await app.infer(headers.get(HEADER_LENGTH), body, proto.client_disconnect)
                if response.status != 499:
                    send(proto, response)
        finally:
            app.held -= announced
            app.open -= 1

    return handle


def send(proto: Exchange, response: Response) -> None:
    """Send a response."""
    proto.response_bytes(response.status, list(response.headers), response.body)


async def _read(app: App, proto: Exchange, announced: int) -> bytes | None:
    """Return the body, or ``None`` after answering that it is too large or too slow."""
    over = False

    def late() -> None:
        nonlocal over
        over = True
        send(proto, app.refused(SLOW))

    timer = asyncio.get_running_loop().call_later(app.limits.body_wait, late)
    try:
        if announced:
            return await proto()
        parts, size = [], 0
        async for part in proto:
            parts.append(part)
            size += len(part)
            if size > app.limits.body or len(parts) > app.limits.pieces + size // 1024:
                send(proto, app.refused(LARGE))
                return None
        return b"".join(parts)
    except RuntimeError:  # what granian raises when the connection breaks, here or by the answer in late()
        if not over:
            app.desk.reject("cancelled", Outcome.CANCELLED)
        return None
    finally:
        timer.cancel()


def _announced(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0
