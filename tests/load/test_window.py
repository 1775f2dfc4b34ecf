from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest
from aiohttp import web

from strop.errors import UsageError
from strop.load.arrivals import poisson
from strop.load.oip import Request
from strop.load.samples import Outcome, Samples
from strop.load.window import LEAD, Windows, last_processor
from tests.threaded_server import ThreadedServer

REQUESTS = [Request(body=str(number).encode()) for number in range(7)]


def windows(**changes: object) -> Windows:
    values = {"requests": REQUESTS, "draw": poisson, "rate": 120.0, "seconds": 0.2, "objective": 0.05, **changes}
    return Windows(**values)  # type: ignore[arg-type]


class Echo(ThreadedServer):
    """Notes bodies; answers 200 at once, 429 to those that contain a 3, and 6 too late."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def application(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            body = (await request.read()).decode()
            self.seen.append(body)
            if body == "6":
                await asyncio.sleep(0.08)
            return web.Response(status=429 if body == "3" else 200)

        app = web.Application()
        app.router.add_post("/infer", answer)
        app.router.add_post("/no", lambda request: asyncio.sleep(0, web.Response(status=400, text="no such input")))
        return app


def test_a_window_of_one_number_is_the_same_for_whoever_is_asked_and_its_account_balances() -> None:
    load = windows()
    with Echo() as server:
        first = load.drive(server.url, "/infer", 5)
        asked = list(server.seen)
        server.seen.clear()
        second = load.drive(server.url, "/infer", 5)
        assert np.array_equal(first.scheduled, second.scheduled)
        assert sorted(asked) == sorted(server.seen), "the same requests"
        server.seen.clear()
        other = load.drive(server.url, "/infer", 6)
    assert not np.array_equal(first.scheduled[:5], other.scheduled[:5])
    account = first.account()
    assert account["sent"] == len(asked) == account["ok"] + account["refused"]
    assert account["refused"] == asked.count("3") and asked.count("6")


def test_only_answers_in_time_after_the_lead_are_good() -> None:
    load = windows(objective=0.1)
    lead = load.lead
    scheduled = np.array([0.0, lead, lead + 0.01, lead + 0.02, lead + 0.03])
    finished = scheduled + np.array([0.01, 0.1, 0.1001, 0.02, 0.03])
    outcome = np.array([Outcome.OK, Outcome.OK, Outcome.OK, Outcome.REFUSED, Outcome.OK], dtype=np.uint8)
    samples = Samples(scheduled=scheduled, sent=scheduled, finished=finished, outcome=outcome, status=np.zeros(5, dtype=np.int16))
    assert load.counted(samples) == 4
    kept = [round(ns / 1e6) for ns in load.good(samples)]
    assert kept[-1] == 30 and kept[:-1] in ([], [100]), "the one at the very objective may be either by rounding"


def test_the_lead_is_long_enough_for_the_queue() -> None:
    assert windows().lead == LEAD and windows(objective=1.0).lead == 2.0
    assert windows().length == pytest.approx(LEAD + 0.2 + 0.05)


def test_a_request_that_is_not_accepted_is_told_with_the_answer() -> None:
    with Echo() as server, pytest.raises(UsageError, match="answered with 400: no such input"):
        windows().rehearse(server.url, "/no")


def test_the_client_has_the_last_processor_and_gives_it_back() -> None:
    before = os.sched_getaffinity(0)
    with last_processor():
        assert os.sched_getaffinity(0) == ({max(before)} if len(before) > 1 else before)
    assert os.sched_getaffinity(0) == before
