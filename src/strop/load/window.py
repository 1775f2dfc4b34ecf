"""Short loads of one schedule each, for comparing two servers turn by turn."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from strop.load.arrivals import Arrivals
from strop.load.client import Client, rehearse
from strop.load.drive import OpenLoop
from strop.load.oip import Request
from strop.load.run import many_connections
from strop.load.samples import Outcome, Samples
from strop.measure.clock import usable_cpus
from strop.units import Seconds

LEAD: Seconds = 0.25
"""At least so long a load runs before its requests count: connections are opened, and queues find their length."""
PATIENCE: Seconds = 1.0
"""Seconds beyond twice the objective that the client waits for an answer that is late already."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """The load that servers are compared under: window by window, each drawn from its number alone.

    Attributes:
        requests: sent in turn; each window begins at another one.
        draw: draws the arrivals.
        rate: requests per second.
        seconds: the part of a window that counts.
        objective: time from the scheduled arrival to the whole answer.
    """

    requests: Sequence[Request]
    draw: Arrivals
    rate: float
    seconds: Seconds
    objective: Seconds

    @property
    def lead(self) -> Seconds:
        """The part before it."""
        return max(LEAD, 2 * self.objective)

    @property
    def length(self) -> Seconds:
        """What a window takes, until its last answer in time."""
        return self.lead + self.seconds + self.objective

    def drive(self, base: str, path: str, number: int) -> Samples:
        """Send the requests of one window and wait for the last answer; the client has the last processor to itself.

        Args:
            base: ``http://host:port``.
            path: where to post.
            number: of the window: the same requests at the same times for whoever is asked.

        Raises:
            KeyboardInterrupt: it was interrupted.
            UsageError: the server does not accept the requests.
        """
        schedule = self.draw(self.rate, self.lead + self.seconds, number)
        first = int(np.random.default_rng(number).integers(len(self.requests)))

        async def run() -> Samples:
            async with Client(base) as client:

                def send(place: int) -> Awaitable[int]:
                    return client.post(path, self.requests[(first + place) % len(self.requests)])

                loop = OpenLoop(schedule, send, broken=client.broken, timeout=2 * self.objective + PATIENCE)
                with many_connections():
                    return await loop.run()

        with last_processor():
            samples = asyncio.run(run())
        if (samples.outcome == Outcome.UNSENT).any():
            raise KeyboardInterrupt
        return samples

    def rehearse(self, base: str, path: str) -> None:
        """Send one request, so that a request that cannot work is found before the load.

        Raises:
            UsageError: the server did not accept it.
        """

        async def run() -> None:
            async with Client(base) as client:
                await rehearse(client, path, self.requests)

        asyncio.run(run())

    def good(self, samples: Samples) -> tuple[int, ...]:
        """Return nanoseconds from schedule to answer of the counted requests that were answered within the objective."""
        kept = samples.counted(self.lead) & (samples.outcome == Outcome.OK) & (samples.latency <= self.objective)
        return tuple(max(1, int(1e9 * seconds)) for seconds in samples.latency[kept])

    def counted(self, samples: Samples) -> int:
        """Return how many requests counted, whatever became of them."""
        return int(samples.counted(self.lead).sum())


@contextlib.contextmanager
def last_processor() -> Iterator[None]:
    """Keep this thread on the last processor, where there is another one for the server."""
    before = usable_cpus()
    if len(before) > 1:
        os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        if len(before) > 1:
            os.sched_setaffinity(0, before)
