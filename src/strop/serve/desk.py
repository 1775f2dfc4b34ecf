"""Where requests wait for their answers: the scheduler, a clock, worker threads, and one future per request.

Lives on one event loop. Nothing is decided here: when something happens the scheduler is asked, and its decision carried
out. Only worker threads run elsewhere, and they touch nothing but their job.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from strop.contract.engine import Program
from strop.observe import Event, Level, Observer, silent
from strop.serve.call import Array, InferenceCall
from strop.serve.histogram import RATIOS, ROWS, SECONDS, SHARES, Histogram
from strop.serve.problem import Problem
from strop.serve.request import LEVELS, Bucket, Outcome, Request
from strop.serve.scheduler import Batch, Scheduler
from strop.serve.stack import Stacker
from strop.serve.workers import Workers, attempt
from strop.units import Seconds

Gone = Callable[[], Awaitable[Any]]
"""Returns when the client has left."""

LOOK: Seconds = 0.05
"""How often open requests are looked through for clients that left and batches that hang."""
HERE: Seconds = 0.5e-3
"""A batch expected to take no longer runs on the event loop: handing it to a thread and back takes about as long."""
HANG: Seconds = 30.0
HANG_RATIO = 10.0
"""A batch hangs when it takes more than both."""


@dataclass(slots=True)
class _Held:
    request: Request
    arrays: list[Array]
    answer: asyncio.Future[list[Array]]
    gone: Gone | None
    watch: asyncio.Task[None] | None = None


class Desk:
    """Answers calls to one model.

    Args:
        program: runs batches; called from worker threads.
        stacker: makes one call of many and many answers of one.
        scheduler: decides; belongs to this desk alone.
        hang: seconds after which a batch is given up.
        observer: told about faults.
    """

    def __init__(
        self, program: Program, stacker: Stacker, scheduler: Scheduler, *, hang: Seconds = HANG, observer: Observer = silent
    ) -> None:
        self.program, self.stacker, self.scheduler = program, stacker, scheduler
        self.draining = False
        self.hanging: set[Batch] = set()
        self.request_seconds, self.queue_seconds, self.execute_seconds = (Histogram(SECONDS) for _ in range(3))
        self.batch_rows, self.error_ratios, self.padding_ratios = Histogram(ROWS), Histogram(RATIOS), Histogram(SHARES)
        self.in_time = 0
        self.failures: Counter[str] = Counter()
        self._hang, self._observer = hang, observer
        self._loop = asyncio.get_running_loop()
        self._workers = Workers(scheduler.policy.executors)
        self._held: dict[int, _Held] = {}
        self._numbers = itertools.count()
        self._due = False
        self._expiry: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._sweeper = self._loop.create_task(self._sweep())

    @property
    def ready(self) -> bool:
        """Whether requests are taken and every worker answers."""
        return not self.draining and not self.hanging

    @property
    def backlog(self) -> Seconds:
        """Time until all work that was taken so far is likely done."""
        return self.scheduler.backlog(self._loop.time(), LEVELS)

    async def answer(self, call: InferenceCall, size: int, gone: Gone | None = None) -> list[Array]:
        """Return the outputs of a call.

        Args:
            call: checked inputs.
            size: bytes it holds.
            gone: returns when the client has left.

        Raises:
            Problem: it was refused, expired or failed.
        """
        self._take_new()
        bucket, rows = self._place(call)
        now = self._loop.time()
        objective = self.scheduler.policy.objective
        request = Request(
            number=next(self._numbers),
            arrived=now,
            deadline=now + (objective if call.timeout is None else min(objective, call.timeout)),
            bucket=bucket,
            rows=rows,
            size=size,
            level=call.level,
        )
        refusal = self.scheduler.offer(now, request)
        if refusal is not None:
            self.failures["rejected"] += 1
            raise Problem(429, f"refused: {refusal.reason}; try again later.", retry=refusal.retry)
        held = self._held[request.number] = _Held(request, call.arrays, self._loop.create_future(), gone)
        self._quiet.clear()
        if self._quick(request):
            self._pump()
        else:
            self._soon()
        try:
            answers = held.answer.result() if held.answer.done() else await held.answer
        except asyncio.CancelledError:
            self.cancel(request.number)
            raise
        finally:
            self._held.pop(request.number, None)
            if held.watch is not None:
                held.watch.cancel()
            if not self._held:
                self._quiet.set()
        seconds = self._loop.time() - now
        self.request_seconds.add(seconds)
        self.in_time += seconds <= objective
        return answers

    def reject(self, reason: str, outcome: Outcome = Outcome.FAILED) -> None:
        """Count a request that ended before the scheduler saw it."""
        self.scheduler.accounts.begin()
        self.scheduler.accounts.end(outcome)
        self.failures[reason] += 1

    def take_back(self, reason: str) -> None:
        """Count a request as failed that was answered, but whose answer could not be sent."""
        self.scheduler.accounts.correct(Outcome.OK, Outcome.FAILED)
        self.failures[reason] += 1

    def cancel(self, number: int) -> None:
        """Forget a request whose client has gone."""
        if self.scheduler.cancel(number):
            self.failures["cancelled"] += 1
            self._settle(number, Problem(499, "the client has gone."))

    async def drain(self, seconds: Seconds) -> bool:
        """Refuse what comes from now on, and wait for what was taken; tell whether all of it was answered in time."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            for number in list(self._held):
                self._fail(number, 503, "shutdown", "the server is shutting down.")
            return False
        return True

    async def close(self) -> None:
        """Stop looking and let the worker threads end."""
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper
        if self._expiry is not None:
            self._expiry.cancel()
        self._workers.close()

    def _take_new(self) -> None:
        if self.draining or len(self.hanging) >= self.scheduler.policy.executors:
            self.reject("shutdown" if self.draining else "worker_lost", Outcome.REFUSED)
            why = "is shutting down" if self.draining else "has no worker left"
            raise Problem(503, f"the server {why}.", headers=(("connection", "close"),))

    def _place(self, call: InferenceCall) -> tuple[Bucket, int]:
        try:
            return self.stacker.bucket(call.arrays)
        except Problem:
            self.reject("invalid")
            raise

    def _quick(self, request: Request) -> bool:
        """Tell whether a request would run at once and alone, in less time than it takes to look for company."""
        scheduler = self.scheduler
        return len(scheduler.queue) == 1 and not scheduler.running and self._expected(request) <= HERE

    def _expected(self, request: Request) -> Seconds:
        return self.scheduler.latency.typical(request.bucket.width, request.rows)

    def _soon(self) -> None:
        """Ask the scheduler once this turn of the loop is over: what arrives together can run together."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._due = False
        while True:
            decision = self.scheduler.start(now := self._loop.time())
            for request in decision.expired:
                self.failures["expired"] += 1
                self._settle(request.number, Problem(504, "the answer would have come too late; the request was not executed."))
            if decision.batch is not None:
                self._run(now, decision.batch)
            if decision.batch is None or not self.scheduler.pending:
                break
        self._watch_expiry()

    def _run(self, now: Seconds, batch: Batch) -> None:
        """Run a batch in a worker's thread; or, when it takes less than handing it over and back, here."""
        calls = [self._held[request.number].arrays for request in batch.requests]
        rows = [request.rows for request in batch.requests]
        for request in batch.requests:
            self.queue_seconds.add(now - request.arrived)
        bucket, stacker, program, loop = batch.requests[0].bucket, self.stacker, self.program, self._loop
        self.padding_ratios.add(stacker.padded_share(calls, bucket))

        def job() -> list[list[Array]]:
            args, kwargs = stacker.stack(calls, bucket)
            return stacker.split(program(*args, **kwargs), rows)

        def report(answers: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile; nobody waits any more
                loop.call_soon_threadsafe(self._returned, batch, answers, error)

        if batch.expected - now <= HERE:
            self._done(batch, *attempt(job))
        else:
            self._workers.submit(job, report)

    def _returned(self, batch: Batch, answers: list[list[Array]] | None, error: BaseException | None) -> None:
        self._done(batch, answers, error)
        self._pump()

    def _done(self, batch: Batch, answers: list[list[Array]] | None, error: BaseException | None) -> None:
        if batch in self.hanging:
            self.hanging.remove(batch)
            self._workers.retire()
            self._tell("serve.recovered", "a worker that hung has come back", Level.WARNING)
        elif answers is not None:
            now = self._loop.time()
            self.execute_seconds.add(now - batch.started)
            self.batch_rows.add(batch.rows)
            self.error_ratios.add((now - batch.started) / max(batch.expected - batch.started, 1e-9))
            by_number = {request.number: answer for request, answer in zip(batch.requests, answers, strict=True)}
            for request in self.scheduler.finish(now, batch):
                self._settle(request.number, by_number[request.number])
        else:
            self._broken(batch, error)

    def _broken(self, batch: Batch, error: BaseException | None) -> None:
        memory = out_of_memory(error)
        self.failures["retried"] += len(batch.requests) > 1
        for request in self.scheduler.fail(self._loop.time(), batch, memory=memory):
            self.failures["memory" if memory else "engine"] += 1
            self._tell("serve.failed", f"a request failed: {type(error).__name__}: {error}", Level.WARNING)
            status, text = (503, "there is not enough memory for this request.") if memory else (500, "the model failed on it.")
            self._settle(request.number, Problem(status, text))

    def _settle(self, number: int, answer: list[Array] | Problem) -> None:
        held = self._held.get(number)
        if held is None or held.answer.done():
            return
        if isinstance(answer, Problem):
            held.answer.set_exception(answer)
        else:
            held.answer.set_result(answer)

    def _fail(self, number: int, status: int, reason: str, message: str) -> None:
        if self.scheduler.lose(number):
            self.failures[reason] += 1
            self._settle(number, Problem(status, message))

    def _watch_expiry(self) -> None:
        """See to it that a request is told at its deadline, not when the next batch ends."""
        due = self.scheduler.queue.next_deadline()
        if self._expiry is not None and (due is None or due < self._expiry.when() or self._expiry.when() <= self._loop.time()):
            self._expiry.cancel()
            self._expiry = None
        if due is not None and self._expiry is None:
            self._expiry = self._loop.call_at(due, self._pump)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            now = self._loop.time()
            for held in [h for h in self._held.values() if h.watch is None and h.gone is not None]:
                if now - held.request.arrived > LOOK:
                    held.watch = self._loop.create_task(self._wait_gone(held))
            for batch in list(self.scheduler.running):
                if now - batch.started > max(self._hang, HANG_RATIO * (batch.expected - batch.started)):
                    self._give_up(now, batch)

    async def _wait_gone(self, held: _Held) -> None:
        assert held.gone is not None
        await held.gone()
        self.cancel(held.request.number)

    def _give_up(self, now: Seconds, batch: Batch) -> None:
        self.hanging.add(batch)
        self._workers.add()
        self._tell(
            "serve.hanging", f"a batch of {batch.rows} rows has not ended after {now - batch.started:.0f} s", Level.WARNING
        )
        for request in self.scheduler.abandon(now, batch):
            self.failures["worker_lost"] += 1
            self._settle(request.number, Problem(503, "the worker that had the request does not answer."))
        self._soon()

    def _tell(self, name: str, text: str, level: Level) -> None:
        self._observer(Event(name, text, level))


def out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an engine ran out of memory; each has an exception of its own, so its words decide."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in ("out of memory", "can't allocate", "bad_alloc"))
