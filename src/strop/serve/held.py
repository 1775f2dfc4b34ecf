"""A request whose client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from strop.serve.call import Array
from strop.serve.request import Request

Gone = Callable[[], Awaitable[Any]]
"""Returns when the client has left."""


@dataclass(slots=True)
class Held:
    """A request from its arrival to its answer.

    Attributes:
        request: as the scheduler knows it.
        arrays: its inputs.
        answer: its outputs, or the problem, once there is one.
        gone: returns when its client has left; ``None`` when nobody can tell.
        watch: waits for that.
    """

    request: Request
    arrays: list[Array]
    answer: asyncio.Future[list[Array]]
    gone: Gone | None
    watch: asyncio.Task[None] | None = None
