"""Deciding what runs when: a state machine of (now, state) with neither clock nor thread nor socket.

The life of a request: :meth:`Scheduler.offer` takes or refuses it; it waits; :meth:`Scheduler.start` puts it into a batch
as soon as an executor is idle, or gives it up; :meth:`Scheduler.finish`, :meth:`Scheduler.fail` or
:meth:`Scheduler.cancel` end it. The server calls these with the real time, the simulator with its own.

Source: dispatch without a timer and the batch open until taken follow NVIDIA Triton's scheduler; giving up what cannot
be answered in time follows Shen et al., Nexus, SOSP 2019.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from strop.serve.accounts import Accounts
from strop.serve.latency import LatencyModel
from strop.serve.pace import Pace
from strop.serve.policy import Policy
from strop.serve.queue import Queue
from strop.serve.request import Bucket, Outcome, Request
from strop.serve.rowlimit import RowLimit
from strop.units import Ratio, Seconds

PROBE: Seconds = 0.25
"""A request believed to be too slow is tried on an idle server when none of its width ran for so long: beliefs must be able
to improve."""
LATE = "it could not be answered in time"
LOOKAHEAD = 512
"""Waiting requests looked at when a batch is chosen."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not taken, and when it is worth trying again.

    Attributes:
        reason: in words.
        retry: seconds.
    """

    reason: str
    retry: Seconds


@dataclass(slots=True, eq=False)
class Batch:
    """Requests that run together; not frozen for the reason that a request is not.

    Attributes:
        requests: in order of their rows.
        width: elements of a row after padding.
        rows: of all requests.
        started: when it was taken.
        expected: when it will likely have ended.
    """

    requests: tuple[Request, ...]
    width: int
    rows: int
    started: Seconds
    expected: Seconds


@dataclass(slots=True)
class Decision:
    """What to do now: run ``batch``, and tell the ``expired`` that there will be no answer in time, and so the ``lost``.

    The lost have been in a batch whose worker ended; they may have been executed.
    """

    batch: Batch | None = None
    expired: list[Request] = field(default_factory=list)
    lost: list[Request] = field(default_factory=list)


class Scheduler:
    """Decides about one model.

    Args:
        policy: settings.
        latency: predicts batches; learns from those that finish.
        room: tells the share of memory that is free.

    Attributes:
        away: executors that cannot take work for the time being.
    """

    def __init__(self, policy: Policy, latency: LatencyModel, room: Callable[[], Ratio] = lambda: 1.0) -> None:
        self.policy, self.latency, self.accounts = policy, latency, Accounts()
        self.queue = Queue(policy.ageing)
        self.pace = Pace()
        self.running: list[Batch] = []
        self.away = 0
        self.limit = RowLimit(policy.max_rows, first=policy.first_rows, scale=policy.scale, headroom=policy.headroom, room=room)
        self._open: dict[int, Request] = {}
        self._halves: deque[tuple[Request, ...]] = deque()
        self._lost: set[int] = set()
        self._worked: dict[int, Seconds] = {}

    @property
    def idle(self) -> int:
        """Executors without work."""
        return self.policy.executors - self.away - len(self.running)

    @property
    def executors(self) -> int:
        """Executors that there are; 1 if there are none, so that predictions stay finite."""
        return max(1, self.policy.executors - self.away)

    @property
    def pending(self) -> bool:
        """Whether anything waits for an executor."""
        return bool(len(self.queue) or self._halves)

    def is_open(self, number: int) -> bool:
        """Tell whether a request that came has not ended."""
        return number in self._open

    def offer(self, now: Seconds, request: Request) -> Refusal | None:
        """Take a request, or say why not. Every call is one request sent."""
        self.accounts.begin()
        self.pace.count(now, request.bucket, request.rows)
        refusal = self._refusal(now, request)
        if refusal is not None:
            self.accounts.end(Outcome.REFUSED)
            return refusal
        self._open[request.number] = request
        self.queue.add(request)
        return None

    @property
    def quiet(self) -> bool:
        """Whether nothing waits and nothing runs, so that a request that comes may :meth:`take` the executor."""
        return not self._open and not self.running and self.policy.admission

    def take(self, now: Seconds, request: Request) -> Batch | Refusal:
        """Take a request of a :attr:`quiet` scheduler and start it alone; :meth:`offer` and :meth:`start` without the queue."""
        self.accounts.begin()
        if self._hopeless(now, request) and not self._untried(now, request):
            self.accounts.end(Outcome.REFUSED)
            return Refusal(LATE, now + self._promise(request.bucket.width, request.rows) - request.deadline)
        self._open[request.number] = request
        width, rows = request.bucket.width, request.rows
        batch = Batch((request,), width, rows, now, now + self.latency.typical(width, rows))
        self.running.append(batch)
        return batch

    def start(self, now: Seconds) -> Decision:
        """Choose the next batch if an executor is idle; it then counts as running."""
        decision = Decision()
        halves = [request for request in self._halved() if now >= request.deadline]
        for request in (*self.queue.late(now), *halves):
            self._expire(request, decision)
        if self.idle > 0:
            decision.batch = self._half(now) or self._next(now, decision)
            if decision.batch is not None:
                self.running.append(decision.batch)
        return decision

    def finish(self, now: Seconds, batch: Batch) -> list[Request]:
        """Note that a batch was answered; return those of its requests that still want their answer."""
        self._leave(now, batch)
        self.latency.observe(batch.width, batch.rows, now - batch.started, now)
        self.limit.held(batch.rows)
        return [request for request in batch.requests if self._end(request, Outcome.OK)]

    def fail(self, now: Seconds, batch: Batch, *, memory: bool = False, lost: bool = False) -> list[Request]:
        """Note that a batch raised. Its halves run next, so that only who is to blame fails; return who failed by itself.

        Args:
            now: the time.
            batch: what raised.
            memory: it ran out of memory, so that smaller batches are made for a while.
            lost: its worker ended. A request is tried once more after that, while its deadline allows, and no more than once:
                each trial may cost a worker.
        """
        self._leave(now, batch)
        if memory:
            self.limit.exhausted(batch.rows)
        wanted = [request for request in batch.requests if self.is_open(request.number)]
        if lost:
            failed = [request for request in wanted if request.number in self._lost or now >= request.deadline]
        else:
            failed = wanted if len(batch.requests) == 1 else []
        again = tuple(request for request in wanted if request not in failed)
        if lost:
            self._lost.update(request.number for request in again)
        middle = (len(again) + 1) // 2
        self._halves.extend(half for half in (again[:middle], again[middle:]) if half)
        return [request for request in failed if self._end(request, Outcome.FAILED)]

    def next_deadline(self) -> Seconds | None:
        """Return the earliest deadline of what waits for an executor."""
        first = self.queue.next_deadline()
        deadlines = [request.deadline for request in self._halved()]
        return min(deadlines if first is None else [*deadlines, first], default=None)

    def cancel(self, number: int) -> bool:
        """Forget a request whose client has gone; a running batch goes on. Tell whether it was open."""
        request = self._open.get(number)
        if request is None:
            return False
        self.queue.remove(number)
        return self._end(request, Outcome.CANCELLED)

    def lose(self, number: int) -> bool:
        """End a request as failed for a reason outside of its batch; tell whether it was open."""
        request = self._open.get(number)
        if request is None:
            return False
        self.queue.remove(number)
        return self._end(request, Outcome.FAILED)

    def abandon(self, now: Seconds, batch: Batch) -> list[Request]:
        """Note that a batch will never be answered, because what ran it is lost; return the requests that failed by it."""
        self._leave(now, batch)
        return [request for request in batch.requests if self._end(request, Outcome.FAILED)]

    def backlog(self, now: Seconds, level: int) -> Seconds:
        """Return the time until all work that a request of ``level`` would wait for is likely done."""
        waiting = sum(
            rows * self._row_seconds(bucket)
            for bucket, levels in self.queue.rows.items()
            for other, rows in levels.items()
            if other <= level
        )
        return self._running(now) + waiting / self.executors

    def _running(self, now: Seconds) -> Seconds:
        """Return the time until what runs is likely done; of several executors the mean."""
        return sum(max(0.0, batch.expected - now) for batch in self.running) / self.executors

    def _refusal(self, now: Seconds, request: Request) -> Refusal | None:
        if self.queue.size + request.size > self.policy.max_bytes and self.queue.size:
            return Refusal("too many bytes wait already", self.backlog(now, request.level))
        if not self.policy.admission or (self._untried(now, request) and not len(self.queue)):
            return None
        late = now + self._ready(now, request) - request.deadline
        return Refusal(LATE, late) if late > 0 else None

    def _ready(self, now: Seconds, request: Request) -> Seconds:
        """Return the time until a request that comes now would be answered, in a batch as full as its bucket makes it.

        Promising it a small batch would fill the queue with requests that only small batches can still save. So the batch it is
        promised also holds those that will likely have come when what runs, and what fills whole batches of its bucket, is done.
        """
        bucket = request.bucket
        if not self.running and not len(self.queue):
            return self._promise(bucket.width, request.rows)
        best, seconds = self._best_rows(bucket), self._row_seconds(bucket) / self.executors
        ahead = sum(rows for level, rows in self.queue.rows.get(bucket, {}).items() if level <= request.level)
        beside = ahead % best
        until = self._running(now) + (ahead - beside) * seconds
        coming = int(until * self.pace.rate(bucket) / self.executors)
        rows = max(request.rows, min(best, beside + request.rows + coming))
        return self.backlog(now, request.level) - beside * seconds + self._promise(bucket.width, rows)

    def _halved(self) -> Iterator[Request]:
        return (request for half in self._halves for request in half if self.is_open(request.number))

    def _half(self, now: Seconds) -> Batch | None:
        while self._halves:
            wanted = [request for request in self._halves.popleft() if self.is_open(request.number)]
            if wanted:
                return self._batch(now, tuple(wanted))
        return None

    def _next(self, now: Seconds, decision: Decision) -> Batch | None:
        while (head := self.queue.head()) is not None:
            if self._hopeless(now, head) and not self._untried(now, head):
                self._give_up(head, decision)
                continue
            chosen, late = self._choose(now, head)
            for request in late:
                self._give_up(request, decision)
            if late:
                continue  # another bucket may be first in turn now
            for request in chosen:
                self.queue.remove(request.number)
            return self._batch(now, tuple(chosen))
        return None

    def _choose(self, now: Seconds, head: Request) -> tuple[list[Request], list[Request]]:
        """Return the next batch, the longest run from the head that all deadlines allow, or who should be given up first."""
        most = self._best_rows(head.bucket)
        waiting = itertools.islice(self.queue.line(head.bucket), LOOKAHEAD)
        line = [request for request in waiting if request is head or not self._hopeless(now, request)]
        chosen = self._run(now, line, most)
        if self.policy.early_drop and len(chosen) < len(line) and sum(request.rows for request in chosen) < most:
            return chosen, line[: self._worth_dropping(now, line, most)]
        return chosen, []

    def _run(self, now: Seconds, line: list[Request], most: int) -> list[Request]:
        chosen, rows, tightest = [line[0]], line[0].rows, line[0].deadline
        for request in line[1:]:
            rows, tightest = rows + request.rows, min(tightest, request.deadline)
            if rows > most or now + self._promise(request.bucket.width, rows) > tightest:
                break
            chosen.append(request)
        return chosen

    def _worth_dropping(self, now: Seconds, line: list[Request], most: int) -> int:
        """Return how many requests to give up: the fewest that bring the rate to 97 % of the best within reach."""
        rates = []
        for first in range(len(line)):
            rows = sum(request.rows for request in self._run(now, line[first : first + most], most))
            rates.append(rows / self.latency.typical(line[0].bucket.width, rows))
            if rows >= most:
                break
        return next(first for first, rate in enumerate(rates) if rate >= 0.97 * max(rates))

    def _batch(self, now: Seconds, requests: tuple[Request, ...]) -> Batch:
        width, rows = max(r.bucket.width for r in requests), sum(r.rows for r in requests)
        return Batch(requests, width, rows, now, now + self.latency.typical(width, rows))

    def _row_seconds(self, bucket: Bucket) -> Seconds:
        rows = self._best_rows(bucket)
        return self.latency.typical(bucket.width, rows) / rows

    def _best_rows(self, bucket: Bucket) -> int:
        """Return the rows of the batch that serves a bucket fastest."""
        best, wanted = self.latency.best_rows(bucket.width, self._span(bucket)), self.policy.min_rows
        if best < wanted and self.latency.typical(bucket.width, wanted) <= self.policy.objective / 2:
            best = wanted
        return min(self.limit.rows, best)

    def _span(self, bucket: Bucket) -> Seconds:
        """Return the time that a batch may take.

        Half the objective leaves those that come while it runs time for the next one. Where they come more quickly, the next one
        needs only the latest of them to be full: it may take what the objective leaves when those have come.
        """
        width, pace, objective = bucket.width, self.pace.rate(bucket) / self.executors, self.policy.objective
        half = objective / 2
        if pace <= 0:
            return half
        fresh = bisect_right(range(1, self.limit.rows + 1), objective, key=lambda rows: rows / pace + self._promise(width, rows))
        return max(half, self.latency.typical(width, fresh))

    def _promise(self, width: int, rows: int) -> Seconds:
        return (1 + self.policy.guard) * self.latency.likely(width, rows)

    def _hopeless(self, now: Seconds, request: Request) -> bool:
        return now + self._promise(request.bucket.width, request.rows) > request.deadline

    def _untried(self, now: Seconds, request: Request) -> bool:
        """Tell whether a request that may be too slow deserves a trial, because the server has nothing else to do.

        It does when it is alone and typically in time: one slow batch among the first makes all likely times long, and a server
        that refused everything on its account would learn no better. And when nothing of its width ran for long, unless only
        waiting made it too late, which says nothing of its width.
        """
        if self.running:
            return False
        width, rows = request.bucket.width, request.rows
        if len(self.queue) <= 1 and now + (1 + self.policy.guard) * self.latency.typical(width, rows) <= request.deadline:
            return True
        return self._hopeless(request.arrived, request) and now - self._worked.get(width, -math.inf) > PROBE

    def _give_up(self, request: Request, decision: Decision) -> None:
        self.queue.remove(request.number)
        self._expire(request, decision)

    def _expire(self, request: Request, decision: Decision) -> None:
        lost = request.number in self._lost
        self._end(request, Outcome.FAILED if lost else Outcome.EXPIRED)
        (decision.lost if lost else decision.expired).append(request)

    def _leave(self, now: Seconds, batch: Batch) -> None:
        self.running.remove(batch)
        self._worked[batch.width] = now

    def _end(self, request: Request, outcome: Outcome) -> bool:
        if self._open.pop(request.number, None) is None:
            return False
        self._lost.discard(request.number)
        self.accounts.end(outcome)
        return True
