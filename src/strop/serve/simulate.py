"""Serving in virtual time: the scheduler that serves, a scripted engine, and no waiting.

Decisions about the scheduler are made here first: what does a rule change about goodput, for which arrivals?
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from strop.serve.request import ORDINARY, Bucket, Request
from strop.serve.scheduler import Batch, Scheduler
from strop.units import Ratio, Seconds

Engine = Callable[[int, int], Seconds]
"""(width, rows) → time the batch really takes."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request of the schedule.

    Attributes:
        at: when it comes.
        width: elements of a row.
        rows: rows it brings.
        level: priority.
    """

    at: Seconds
    width: int = 1
    rows: int = 1
    level: int = ORDINARY


@dataclass(slots=True)
class Simulated:
    """What came of a schedule.

    Attributes:
        sent: requests.
        good: answered within the objective.
        waits: arrival to answer of every answered request, by level.
        batches: rows of each batch.
    """

    sent: int = 0
    good: int = 0
    waits: dict[int, list[Seconds]] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    @property
    def goodput(self) -> Ratio:
        """Share of all requests that were answered within the objective."""
        return self.good / self.sent if self.sent else 1.0

    def quantile(self, share: Ratio) -> Seconds:
        """Return a quantile of the answered requests' times; 0 when there are none."""
        ordered = sorted(itertools.chain.from_iterable(self.waits.values()))
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def simulate(scheduler: Scheduler, arrivals: Iterable[Arrival], engine: Engine) -> Simulated:
    """Serve a schedule.

    Args:
        scheduler: fresh; its own records can be read afterwards.
        arrivals: in order of time.
        engine: how long batches really take.
    """
    result, objective = Simulated(), scheduler.policy.objective
    events: list[tuple[Seconds, int, Arrival | Batch]] = [(a.at, number, a) for number, a in enumerate(arrivals)]
    heapq.heapify(events)
    numbers = itertools.count(len(events))
    while events:
        now, number, event = heapq.heappop(events)
        if isinstance(event, Batch):
            for request in scheduler.finish(now, event):
                result.waits.setdefault(request.level, []).append(now - request.arrived)
                result.good += now <= request.deadline
        else:
            result.sent += 1
            scheduler.offer(
                now,
                Request(
                    number=number,
                    arrived=now,
                    deadline=now + objective,
                    bucket=Bucket("simulated", event.width),
                    rows=event.rows,
                    level=event.level,
                ),
            )
        while (batch := scheduler.start(now).batch) is not None:
            result.batches.append(batch.rows)
            heapq.heappush(events, (now + engine(batch.width, batch.rows), next(numbers), batch))
    scheduler.start(float("inf"))
    return result
