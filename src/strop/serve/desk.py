"""Where requests wait for their answers: the scheduler, a clock, workers, and one future per request.

Lives on one event loop. Nothing is decided here: when something happens the scheduler is asked, and its decision carried
out. Only workers run elsewhere, and they touch nothing but their job.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from typing import Any

from strop.contract.engine import Program
from strop.observe import Event, Level, Observer, silent
from strop.serve.call import Array, InferenceCall
from strop.serve.counts import Counts
from strop.serve.held import Gone, Held
from strop.serve.lag import Lag
from strop.serve.latency import LatencyModel
from strop.serve.problem import Problem
from strop.serve.request import LEVELS, Bucket, Outcome, Request
from strop.serve.scheduler import Batch, Refusal, Scheduler
from strop.serve.stack import Stacker
from strop.serve.workers import Task, ThreadWorkers, WorkerLostError, Workers, attempt, out_of_memory
from strop.units import Seconds

LOOK: Seconds = 0.05
"""How often open requests are looked through for clients that left and batches that hang."""
HERE: Seconds = 0.5e-3
"""A batch expected to take no longer runs on the event loop: handing it to a thread and back takes about as long."""
GRAIN: Seconds = 1e-3  # of the loop's timers: so much later nobody asks the scheduler in vain
HANG: Seconds = 30.0
HANG_RATIO = 10.0
"""A batch hangs when it takes more than both."""
LEAVING: Seconds = 60.0
"""Time that batches on their way have when their workers are replaced."""


class Desk:
    """Answers calls to one model.

    Args:
        workers: run batches; a program is run in threads of this process. They are closed with the desk.
        stacker: makes one call of many and many answers of one.
        scheduler: decides; belongs to this desk alone.
        hang: seconds after which a batch is given up.
        observer: told about faults.

    Attributes:
        now: the time that everything here is measured in. The loop's own clock is not: uvloop's stands still for a millisecond.
    """

    def __init__(
        self,
        workers: Workers | Program,
        stacker: Stacker,
        scheduler: Scheduler,
        *,
        hang: Seconds = HANG,
        observer: Observer = silent,
    ) -> None:
        if isinstance(workers, Program):
            workers = ThreadWorkers(workers, scheduler.policy.executors)
        self.workers, self.stacker, self.scheduler = workers, stacker, scheduler
        self.now = time.monotonic
        self.draining = False
        self.hanging: set[Batch] = set()
        self.counts = Counts()
        self._hang, self._observer = hang, observer
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[Batch, tuple[Workers, Task]] = {}
        self._lag = Lag(self._loop, lambda: self.now(), lambda: bool(self._tasks))
        self._held: dict[int, Held] = {}
        self._numbers = itertools.count()
        self._due = False
        self._expires: Seconds | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._sweeper = self._loop.create_task(self._sweep())
        self._take_on(workers)

    @property
    def ready(self) -> bool:
        """Whether requests are taken, a worker is there to answer them, and none hangs."""
        return not self.draining and not self.hanging and self.workers.up > 0

    @property
    def trouble(self) -> str:
        """Why no batch can be run, in words for clients; empty when one can."""
        if self.draining:
            return "the server is shutting down"
        return "" if self.ready else "a batch hangs" if self.hanging else "no worker is up; the server's own log says why"

    @property
    def backlog(self) -> Seconds:
        """Time until all work that was taken so far is likely done."""
        return self.scheduler.backlog(self.now(), LEVELS)

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
        now = self.now()
        objective = self.scheduler.policy.objective
        allowed = objective if call.timeout is None else min(objective, call.timeout)
        deadline = now + allowed - self._lag.reserve(objective)
        request = Request(
            number=next(self._numbers), arrived=now, deadline=deadline, bucket=bucket, rows=rows, size=size, level=call.level
        )
        program = self.workers.here
        if program is not None and self.scheduler.quiet and self.scheduler.latency.typical(bucket.width, rows) <= HERE:
            return self._at_once(now, request, call.arrays, program)
        refusal = self.scheduler.offer(now, request)
        if refusal is not None:
            raise self._refused(refusal)
        held = self._held[request.number] = Held(request, call.arrays, self._loop.create_future(), gone)
        self._quiet.clear()
        self._soon()
        try:
            answers = await held.answer
        except asyncio.CancelledError:
            self.cancel(request.number)
            raise
        finally:
            self._held.pop(request.number, None)
            if held.watch is not None:
                held.watch.cancel()
            if not self._held:
                self._quiet.set()
        self.counts.answered(self.now() - now, objective)
        return answers

    def reject(self, reason: str, outcome: Outcome = Outcome.FAILED) -> None:
        """Count a request that ended before the scheduler saw it."""
        self.scheduler.accounts.begin()
        self.scheduler.accounts.end(outcome)
        self.counts.failures[reason] += 1

    def take_back(self, reason: str) -> None:
        """Count a request as failed that was answered, but whose answer could not be sent."""
        self.scheduler.accounts.correct(Outcome.OK, Outcome.FAILED)
        self.counts.failures[reason] += 1

    def swap(self, workers: Workers, stacker: Stacker, latency: LatencyModel) -> None:
        """Let other workers take the next batch; those there were end what they have, and then themselves.

        Args:
            workers: of a newer version.
            stacker: pads as the one before.
            latency: predicts the newer version.
        """
        old = self.workers
        self.workers, self.stacker, self.scheduler.latency = workers, stacker, latency
        self.hanging.clear()
        self.counts.loads["ok"] += 1
        self._take_on(workers)
        threading.Thread(target=old.close, args=(LEAVING,), daemon=True).start()

    def cancel(self, number: int) -> None:
        """Forget a request whose client has gone."""
        if self.scheduler.cancel(number):
            self.counts.failures["cancelled"] += 1
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
        """Stop looking and let the workers end."""
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper
        if self._expiry is not None:
            self._expiry.cancel()
        self.workers.close()

    def _take_new(self) -> None:
        if self.draining or len(self.hanging) >= self.scheduler.policy.executors or not self.workers.up:
            self.reject("shutdown" if self.draining else "worker_lost", Outcome.REFUSED)
            why = "is shutting down" if self.draining else "has no worker left"
            raise Problem(503, f"the server {why}.", headers=(("connection", "close"),))

    def _place(self, call: InferenceCall) -> tuple[Bucket, int]:
        try:
            return self.stacker.bucket(call.arrays)
        except Problem:
            self.reject("invalid")
            raise

    def _refused(self, refusal: Refusal) -> Problem:
        self.counts.failures["rejected"] += 1
        return Problem(429, f"refused: {refusal.reason}; try again later.", retry=refusal.retry)

    def _at_once(self, now: Seconds, request: Request, arrays: list[Array], program: Program) -> list[Array]:
        """Run a request alone and here, in less time than it takes to look for company or to wait for an answer."""
        batch = self.scheduler.take(now, request)
        if isinstance(batch, Refusal):
            raise self._refused(batch)
        self.counts.queue_seconds.add(0.0)
        self.counts.padding_ratios.add(self.stacker.padded_share([arrays], request.bucket))
        answers, error = attempt(lambda known: self._compute(known, [arrays], request.bucket, [request.rows]), program)
        if error is not None:
            raise self._broken(batch, error)
        ended = self._ran(batch)
        self.scheduler.finish(ended, batch)
        self.counts.answered(ended - now, self.scheduler.policy.objective)
        outputs: list[Array] = answers[0]
        return outputs

    def _compute(self, program: Program, calls: list[list[Array]], bucket: Bucket, rows: list[int]) -> list[list[Array]]:
        args, kwargs = self.stacker.stack(calls, bucket)
        return self.stacker.split(program(*args, **kwargs), rows)

    def _ran(self, batch: Batch) -> Seconds:
        """Note how long a batch took that went well; return the time."""
        now = self.now()
        self.counts.ran(batch, now)
        return now

    def _soon(self) -> None:
        """Ask the scheduler once this turn of the loop is over: what arrives together can run together."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._due = False
        while True:
            decision = self.scheduler.start(now := self.now())
            for request in decision.expired:
                self.counts.failures["expired"] += 1
                self._settle(request.number, Problem(504, "the answer would have come too late; the request was not executed."))
            for request in decision.lost:
                self._lose(request.number)
            if decision.batch is not None:
                self._run(now, decision.batch)
            if decision.batch is None or not self.scheduler.pending:
                break
        self._watch_expiry()

    def _run(self, now: Seconds, batch: Batch) -> None:
        """Give a batch to a worker; or, when it takes less than handing it over and back, run it here."""
        calls = [self._held[request.number].arrays for request in batch.requests]
        rows = [request.rows for request in batch.requests]
        for request in batch.requests:
            self.counts.queue_seconds.add(now - request.arrived)
        bucket, workers, loop = batch.requests[0].bucket, self.workers, self._loop
        self.counts.padding_ratios.add(self.stacker.padded_share(calls, bucket))

        def job(program: Program) -> list[list[Array]]:
            return self._compute(program, calls, bucket, rows)

        def report(answers: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile; nobody waits any more
                loop.call_soon_threadsafe(self._returned, batch, answers, error)

        if workers.here is not None and batch.expected - now <= HERE:
            self._done(batch, *attempt(job, workers.here))
        else:
            self._tasks[batch] = workers, workers.submit(job, report)
            self._lag.watch()

    def _returned(self, batch: Batch, answers: list[list[Array]] | None, error: BaseException | None) -> None:
        del self._tasks[batch]
        if batch in self.scheduler.running:
            self._done(batch, answers, error)
        elif batch in self.hanging:
            self.hanging.remove(batch)
            self._tell("serve.recovered", "a worker that hung has come back", Level.WARNING)
        self._pump()

    def _take_on(self, workers: Workers) -> None:
        def told(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._count_workers, event)

        workers.watch(told)
        self._count_workers()

    def _count_workers(self, event: Event | None = None) -> None:
        """Let the scheduler know how many workers there are."""
        if event is not None:
            self._observer(event)
        self.scheduler.away = max(0, self.scheduler.policy.executors - self.workers.up)
        self._soon()

    def _done(self, batch: Batch, answers: list[list[Array]] | None, error: BaseException | None) -> None:
        if answers is not None:
            now = self._ran(batch)
            by_number = {request.number: answer for request, answer in zip(batch.requests, answers, strict=True)}
            for request in self.scheduler.finish(now, batch):
                self._settle(request.number, by_number[request.number])
        else:
            self._broken(batch, error)

    def _broken(self, batch: Batch, error: BaseException | None) -> Problem:
        """Let the scheduler say who failed, tell them, and return what they are told."""
        memory, lost = out_of_memory(error), isinstance(error, WorkerLostError)
        status, text = (503, "there is not enough memory for this request.") if memory else (500, "the model failed on it.")
        problem = Problem(status, text)
        if lost:
            self._count_workers()
        failed = self.scheduler.fail(self.now(), batch, memory=memory, lost=lost)
        self.counts.failures["retried"] += len(failed) < len(batch.requests)
        for request in failed:
            if lost:
                self._lose(request.number)
                continue
            self.counts.failures["memory" if memory else "engine"] += 1
            self._tell("serve.failed", f"a request failed: {type(error).__name__}: {error}", Level.WARNING)
            self._settle(request.number, problem)
        return problem

    def _lose(self, number: int) -> None:
        self.counts.failures["worker_lost"] += 1
        self._settle(number, Problem(503, "the worker that had the request was lost; try again.", retry=1.0))

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
            self.counts.failures[reason] += 1
            self._settle(number, Problem(status, message))

    def _watch_expiry(self) -> None:
        """See to it that a request is told at its deadline, not when the next batch ends."""
        due = self.scheduler.next_deadline()
        if self._expiry is not None:
            if due == self._expires:
                return
            self._expiry.cancel()
        self._expires, self._expiry = due, None
        if due is not None:
            self._expiry = self._loop.call_later(max(0.0, due - self.now()) + GRAIN, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._pump()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            now = self.now()
            for held in [h for h in self._held.values() if h.watch is None and h.gone is not None]:
                if now - held.request.arrived > LOOK:
                    held.watch = self._loop.create_task(self._wait_gone(held))
            for batch in list(self.scheduler.running):
                if now - batch.started > max(self._hang, HANG_RATIO * (batch.expected - batch.started)):
                    self._give_up(now, batch)

    async def _wait_gone(self, held: Held) -> None:
        assert held.gone is not None
        await held.gone()
        self.cancel(held.request.number)

    def _give_up(self, now: Seconds, batch: Batch) -> None:
        workers, task = self._tasks[batch]
        if task.ended:
            return
        text = f"a batch of {batch.rows} rows has not ended after {now - batch.started:.0f} s"
        self._tell("serve.hanging", text, Level.WARNING)
        if workers.end(task):
            return  # its report comes
        self.hanging.add(batch)
        for request in self.scheduler.abandon(now, batch):
            self._lose(request.number)
        self._soon()

    def _tell(self, name: str, text: str, level: Level) -> None:
        self._observer(Event(name, text, level))
