"""The open loop: every request leaves at its scheduled time, however the ones before it fare."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from strop.load.arrivals import FloatArray
from strop.load.samples import Outcome, Recorder, Samples, outcome_of
from strop.load.timer import Timer
from strop.measure.clock import monotonic_ns
from strop.units import Seconds

Send = Callable[[int], Awaitable[int]]
"""``send(number)``: send one request, read the whole answer, return its HTTP status."""

Watch = Callable[[Seconds, Mapping[Outcome, int]], None]
"""``watch(elapsed, counts)``: told about once a second; what it does delays the generator, so it must be quick."""

LEAD = 0.05
"""Seconds between drawing the line and the first request."""
TOGETHER = 64
"""Requests that a late generator sends before it looks at answers again."""


def unwatched(elapsed: Seconds, counts: Mapping[Outcome, int]) -> None:
    """Look at nothing."""


@contextlib.contextmanager
def quiet_memory() -> Iterator[None]:
    """Leave what lives already out of garbage collections, so that they stay short while requests are timed."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class OpenLoop:
    """Sends every request of a schedule and waits for the last answer.

    Args:
        schedule: seconds from the start, ascending.
        send: sends one request.
        broken: what ``send`` raises when a connection fails; anything else is a defect and is raised by :meth:`run`.
        timeout: seconds after its scheduled time at which a request is given up.
        watch: told how it goes.

    Attributes:
        processor: processor time this process used while it ran, in seconds per second.
    """

    def __init__(
        self,
        schedule: FloatArray,
        send: Send,
        *,
        broken: tuple[type[Exception], ...] = (OSError,),
        timeout: Seconds = 10.0,
        watch: Watch = unwatched,
    ) -> None:
        self.processor = 0.0
        self._schedule, self._send, self._broken, self._timeout, self._watch = schedule, send, broken, timeout, watch
        self._recorder = Recorder(schedule)
        self._tasks: set[asyncio.Task[None]] = set()
        self._defects: list[BaseException] = []
        self._shown = 0.0

    async def run(self) -> Samples:
        """Run once. Cancelling the task stops sending, gives up what is in flight, and returns what was measured so far."""
        with quiet_memory():
            self._start = monotonic_ns() + int(LEAD * 1e9)
            self._loop_start = asyncio.get_running_loop().time() + LEAD
            worked, began = time.process_time(), time.perf_counter()
            try:
                await self._send_all()
                while self._tasks:
                    await asyncio.wait(self._tasks, timeout=1)
                    self._show()
            except asyncio.CancelledError:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
            self.processor = (time.process_time() - worked) / (time.perf_counter() - began)
        if self._defects:
            raise self._defects[0]
        return self._recorder.samples()

    async def _send_all(self) -> None:
        with Timer() as timer:
            for number, when in enumerate(self._schedule):
                if when > self._now():
                    await timer.until(self._start + int(when * 1e9))
                elif number % TOGETHER == 0:
                    await asyncio.sleep(0)  # when the generator is behind, answers still have to be read
                task = asyncio.create_task(self._one(number))
                self._tasks.add(task)
                task.add_done_callback(self._done)
                self._show()

    async def _one(self, number: int) -> None:
        recorder = self._recorder
        recorder.send(number, self._now())
        try:
            async with asyncio.timeout_at(self._loop_start + self._schedule[number] + self._timeout):
                status = await self._send(number)
        except TimeoutError:
            recorder.end(number, self._now(), Outcome.TIMEOUT)
        except asyncio.CancelledError:
            recorder.end(number, self._now(), Outcome.CANCELLED)
        except self._broken as error:
            recorder.end(number, self._now(), Outcome.FAILED, reason=type(error).__name__)
        else:
            recorder.end(number, self._now(), outcome_of(status), status)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._defects.append(error)

    def _now(self) -> Seconds:
        return (monotonic_ns() - self._start) / 1e9

    def _show(self) -> None:
        now = self._now()
        if now - self._shown >= 1:
            self._shown = now
            self._watch(now, self._recorder.counts)
