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
from strop.units import Seconds


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

    readers = Readers(app)

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
        app.enter(announced)
        try:
            body = await readers.read(proto, announced)
            if body is not None:
                response = await app.infer(headers.get(HEADER_LENGTH), body, proto.client_disconnect)
                if response.status != 499:
                    send(proto, response)
        finally:
            app.leave(announced)

    return handle


def send(proto: Exchange, response: Response) -> None:
    """Send a response."""
    proto.response_bytes(response.status, list(response.headers), response.body)


class Readers:
    """Reads bodies, and turns away clients that take too long for them.

    All have equally long, so that who began first is late first: one timer looks after all of them.

    Args:
        app: its limits hold; bodies that cannot be read are accounted for by it.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._reading: dict[Exchange, Seconds] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, proto: Exchange, announced: int) -> bytes | None:
        """Return the body, or ``None`` after answering that it is too large or too slow.

        Args:
            proto: where it comes from.
            announced: its length by the client's word, or 0 when that said nothing.
        """
        wait = self._app.limits.body_wait
        self._reading[proto] = self._app.desk.now() + wait
        if self._timer is None:
            self._watch(wait)
        try:
            body = await (proto() if announced else self._in_pieces(proto))
            return body if proto in self._reading else None  # turned away in the very turn that brought the rest
        except RuntimeError:  # what granian raises when the connection breaks, here or by being turned away
            if proto in self._reading:
                self._app.desk.reject("cancelled", Outcome.CANCELLED)
            return None
        finally:
            self._reading.pop(proto, None)

    async def _in_pieces(self, proto: Exchange) -> bytes | None:
        parts, size, limits = [], 0, self._app.limits
        async for part in proto:
            parts.append(part)
            size += len(part)
            if size > limits.body or len(parts) > limits.pieces + size // 1024:
                send(proto, self._app.refused(LARGE))
                return None
        return b"".join(parts)

    def _turn_away(self) -> None:
        self._timer = None
        for proto, end in list(self._reading.items()):
            if (left := end - self._app.desk.now()) > 0:
                self._watch(left)
                return
            del self._reading[proto]
            send(proto, self._app.refused(SLOW))

    def _watch(self, seconds: Seconds) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._turn_away)


def _announced(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0
