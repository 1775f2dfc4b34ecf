"""The impure half: connections to a server, by aiohttp.

Measured on one core against a server that only answers 200, with 32 and 1,000 connections: aiohttp 13,300 and 7,400
requests per second, pyreqwest 12,700 and 15,700, httpx2 1,900 and 320, niquests 1,700 and 1,300. aiohttp works in the one
thread that also keeps the schedule, so whatever delays it shows as lag, and it is the most used and longest kept of them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from strop.errors import MissingExtraError, StropError, UsageError
from strop.load.oip import Request

if TYPE_CHECKING:
    import aiohttp

KEPT_ALIVE = 4.0
"""Seconds an idle connection is kept: less than the 5 s after which common servers close theirs, so that none is closed under
a request."""
LARGE = 1 << 20
"""Bytes above which a body is handed over as a stream, so that writing it does not hold up the others."""
PATIENCE = 30.0
"""Seconds until questions before the load must be answered; a model may be loading."""


class Client:
    """Speaks to one server. An asynchronous context manager.

    Args:
        base: ``http://host:port``, without a path.

    Raises:
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(self, base: str) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise MissingExtraError("strop load", "load") from error
        self._aiohttp, self._base = aiohttp, base
        self.broken: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError)

    async def __aenter__(self) -> Client:
        """Open the session; connections are opened as they are needed, without a limit."""
        self._session: aiohttp.ClientSession = self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_ALIVE),
            cookie_jar=self._aiohttp.DummyCookieJar(),
            timeout=self._aiohttp.ClientTimeout(total=None),
            headers={"Accept-Encoding": "identity"},  # what is timed is the model's answer, not its compression
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close every connection."""
        await self._session.close()

    async def post(self, path: str, request: Request) -> int:
        """Send one request, read the whole answer, and return its status."""
        body = request.body if len(request.body) <= LARGE else io.BytesIO(request.body)
        async with self._session.post(self._base + path, data=body, headers=request.headers, allow_redirects=False) as answer:
            await answer.read()
            return answer.status

    async def ask(self, method: str, path: str, request: Request | None = None) -> tuple[int, bytes]:
        """Ask something before the load begins, and return status and body.

        Raises:
            UsageError: the server cannot be reached.
        """
        body, headers = (request.body, request.headers) if request else (None, {})
        limit = self._aiohttp.ClientTimeout(total=PATIENCE)
        try:
            async with self._session.request(method, self._base + path, data=body, headers=headers, timeout=limit) as answer:
                return answer.status, await answer.read()
        except TimeoutError as error:
            raise StropError(f"{self._base}{path} did not answer within {PATIENCE:g} s") from error
        except self.broken as error:
            raise UsageError(
                f"{self._base} cannot be reached: {error}. Is the server running, and is this its HTTP data port?"
            ) from error


async def find_model(client: Client, name: str | None) -> str:
    """Return the name of the model to ask; without a name, that of the only one the server lists.

    Raises:
        UsageError: the server does not list its models, or not exactly one.
    """
    if name:
        return name
    listed = await _listed(client)
    if len(listed) == 1:
        return listed[0]
    known = f"it has {', '.join(listed)}" if listed else "it does not list its models"
    raise UsageError(f"name the model to ask with --model NAME: {known}")


async def metadata(client: Client, path: str, name: str) -> Any:
    """Return the model's metadata.

    Raises:
        UsageError: the server has no such model.
        StropError: it answered something else than metadata.
    """
    status, body = await client.ask("GET", path)
    if status == 404:
        listed = await _listed(client)
        known = f" It has {', '.join(listed)}." if listed else " Does it speak the Open Inference Protocol v2 on this port?"
        raise UsageError(f"the server has no model {name!r} (404 for {path}).{known}")
    if status != 200:
        raise StropError(f"the server answered {path} with {status}: {shown(body)}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise StropError(f"the server's answer to {path} is not JSON: {shown(body)}") from error


async def rehearse(client: Client, path: str, requests: Sequence[Request]) -> None:
    """Send the first request once, so that a request that cannot work is found before the load.

    Raises:
        UsageError: the server did not accept it.
    """
    status, body = await client.ask("POST", path, requests[0])
    if status != 200:
        raise UsageError(f"the first request was answered with {status}: {shown(body)}")


def shown(body: bytes) -> str:
    """Return the start of an answer as text, for messages."""
    return body[:300].decode("utf-8", errors="replace").strip() or "an empty body"


async def _listed(client: Client) -> list[str]:
    """Ask for the models by Triton's repository extension; a server without it lists nothing."""
    status, body = await client.ask("POST", "/v2/repository/index", Request(body=b"{}"))
    if status != 200:
        return []
    try:
        return sorted({str(row["name"]) for row in json.loads(body)})
    except (ValueError, KeyError, TypeError):
        return []
