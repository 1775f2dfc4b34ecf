"""Twice of what a server can do for a while, then little: refused at once, answered in time, and as before a second later.

The real process behind real sockets, under the open loop of ``strop load``. Bounds on time are far from what is seen, so that a
busy machine does not decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import aiohttp
import numpy as np
import pytest

from strop.load.arrivals import FloatArray, poisson
from strop.load.drive import OpenLoop
from strop.load.samples import Outcome, Samples
from tests.serve.test_app import INFER, body
from tests.serve.test_server import Server, start

__all__ = ["start"]  # a fixture

SECONDS, ROWS, OBJECTIVE = 0.1, 8, 1.0
"""Time of a batch, most rows of one, and the objective."""
CAPACITY = ROWS / SECONDS
PEAK, AFTER = 60.0, 6.0
"""Seconds of overload, and of little load before and after it."""


@dataclass
class Client:
    """Sends requests, and notes which refusals did not say when to come back."""

    server: Server
    silent: int = 0

    async def run(self, schedule: FloatArray) -> Samples:
        """Send all requests of a schedule, each at its time."""
        url = f"http://127.0.0.1:{self.server.port}{INFER}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await OpenLoop(schedule, partial(self._send, session, url), timeout=30.0).run()

    async def _send(self, session: aiohttp.ClientSession, url: str, number: int) -> int:
        async with session.post(url, data=body(float(number % 100)), headers={"content-type": "application/json"}) as answer:
            await answer.read()
            self.silent += answer.status == 429 and int(answer.headers.get("retry-after", "0")) < 1
            return answer.status


@pytest.mark.slow
def test_overload_is_refused_at_once_and_forgotten_within_a_second(start: Callable[..., Server]) -> None:
    server = start(seconds=SECONDS, objective=OBJECTIVE)
    calm = [poisson(0.1 * CAPACITY, AFTER, seed) for seed in (1, 2)]
    schedule = np.concatenate([calm[0], AFTER + poisson(2 * CAPACITY, PEAK, 3), AFTER + PEAK + calm[1]])
    client = Client(server)
    found = asyncio.run(client.run(schedule))

    def of(begin: float, end: float, outcome: Outcome) -> FloatArray:
        """Latencies of the requests of a time that ended so."""
        return found.latency[(found.scheduled >= begin) & (found.scheduled < end) & (found.outcome == outcome)]

    account = found.account()
    assert set(account) - {"scheduled", "sent"} >= {"ok", "refused", "expired"}
    assert account["sent"] == len(schedule) == account["ok"] + account["refused"] + account["expired"], account
    refused, answered = of(AFTER, AFTER + PEAK, Outcome.REFUSED), of(AFTER, AFTER + PEAK, Outcome.OK)
    assert len(refused) > 0.3 * 2 * CAPACITY * PEAK, "half of it is too much"
    assert len(answered) > 0.6 * CAPACITY * PEAK, "the other half is served"
    assert client.silent == 0, "every refusal says when to come back"
    assert median(refused) < SECONDS, "before even one batch has run"
    assert np.quantile(answered, 0.99) < 1.5 * OBJECTIVE
    before, after = of(0.0, AFTER, Outcome.OK), of(AFTER + PEAK + 1.0, np.inf, Outcome.OK)
    assert len(after) == (schedule >= AFTER + PEAK + 1.0).sum(), "a second later nothing is refused any more"
    assert median(after) < median(before) + SECONDS, "and answers come as quickly as before"
    outcomes = {name: server.outcome(name) for name in ("ok", "refused", "expired")}
    assert outcomes == {name: account[name] for name in outcomes}, "the server's own count agrees"
    assert server.counts()['strop_ledger_unaccounted{model="double"}'] == 0
    assert server.end() == 0
