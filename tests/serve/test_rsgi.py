"""Reading bodies: one timer for all that are slow. What sockets add is shown by the tests of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from strop.serve.app import App
from strop.serve.limits import Limits
from strop.serve.request import Outcome
from strop.serve.rsgi import Readers
from tests.serve.conftest import Doubler

Within = Callable[..., Any]


class Body:
    """A body that comes after ``seconds``, or never, when the connection breaks as soon as an answer is sent."""

    def __init__(self, seconds: float | None, pieces: tuple[bytes, ...] = (b"body",)) -> None:
        self._seconds, self._pieces = seconds, pieces
        self._broken = asyncio.Event()
        self.answer = 0

    async def __call__(self) -> bytes:
        if self._seconds is None:
            await self._broken.wait()
            raise RuntimeError("broken")
        await asyncio.sleep(self._seconds)
        return b"".join(self._pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def client_disconnect(self) -> None:
        await self._broken.wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = status
        self._broken.set()

    def leave(self) -> None:
        self._broken.set()


def test_the_slow_are_turned_away_in_their_turn_and_the_quick_are_read(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        readers = Readers(app)
        first, quick = Body(None), Body(0.05)
        one = asyncio.create_task(readers.read(first, 4))
        two = asyncio.create_task(readers.read(quick, 4))
        await asyncio.sleep(0.1)
        late = Body(None)
        three = asyncio.create_task(readers.read(late, 4))
        async with asyncio.timeout(5):
            assert await one is None
            assert (first.answer, late.answer) == (408, 0)
            assert await two == b"body"
            assert await three is None
        assert late.answer == 408
        assert await readers.read(Body(0.0), 4) == b"body", "the timer is set again after it has gone off"
        assert app.desk.scheduler.accounts.ended == {Outcome.FAILED: 2}

    within(act, limits=Limits(body_wait=0.2))


def test_who_leaves_while_sending_is_cancelled(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        body = Body(None)
        reading = asyncio.create_task(Readers(app).read(body, 4))
        await asyncio.sleep(0.01)
        body.leave()
        assert await reading is None
        assert body.answer == 0
        assert app.desk.scheduler.accounts.ended == {Outcome.CANCELLED: 1}

    within(act)


def test_a_body_of_unknown_length_is_counted_while_it_is_read(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        readers = Readers(app)
        assert await readers.read(Body(0.0, (b"a", b"b")), 0) == b"ab"
        large, crumbs = Body(0.0, (b"x" * 60, b"x" * 60)), Body(0.0, (b"x",) * 10)
        assert await readers.read(large, 0) is None
        assert await readers.read(crumbs, 0) is None
        assert (large.answer, crumbs.answer) == (413, 413)
        assert app.desk.scheduler.accounts.ended == {Outcome.FAILED: 2}

    within(act, limits=Limits(body=100, pieces=5))
