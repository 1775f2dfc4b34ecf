"""Workers that die and hang, and newer versions that come, behind real sockets: what clients see of it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.serve.faulty import ASLEEP, KILLED, SEGFAULT
from tests.serve.test_app import INFER, body
from tests.serve.test_server import Server, settle, start

__all__ = ["start"]  # a fixture

Start = Callable[..., Server]


def answers(server: Server, values: list[float]) -> list[int]:
    """Ask for all at once; return the statuses, none of which may hide a wrong answer."""

    def one(value: float) -> int:
        status, row = server.ask("POST", INFER, body(value))
        assert status != 200 or row["outputs"][0]["data"] == [2 * value] * 4
        return status

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(one, values))


def balanced(server: Server) -> bool:
    counts = server.counts()
    return counts['strop_ledger_unaccounted{model="double"}'] == 0 == counts['strop_requests_in_flight{model="double"}']


def test_a_worker_killed_in_the_middle_of_a_batch_costs_its_clients_nothing_but_time(start: Start) -> None:
    server = start(seconds=0.4, workers=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(answers, server, [1.0, 2.0, 3.0, 4.0])
        time.sleep(0.2)
        (pid,) = server.workers()
        os.kill(pid, signal.SIGKILL)
        assert settle(lambda: not server.ready()), "nobody is there to answer"
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert waiting.result() == [200] * 4
    assert server.ready()
    assert server.counts()['strop_worker_restarts_total{model="double"}'] == 1
    assert balanced(server)


@pytest.mark.parametrize("planted", [KILLED, SEGFAULT])
def test_a_request_that_kills_workers_is_tried_twice_and_answered(start: Start, planted: float) -> None:
    server = start(workers=1)
    status, row = server.ask("POST", INFER, body(planted))
    assert (status, row["error"]) == (503, "the worker that had the request was lost; try again.")
    assert settle(server.ready)
    assert server.good()
    counts = server.counts()
    assert counts['strop_worker_restarts_total{model="double"}'] == 2
    assert counts['strop_request_failures_total{model="double",reason="worker_lost"}'] == 1
    assert balanced(server)


def test_with_two_workers_one_may_die_and_the_server_stays_ready(start: Start) -> None:
    server = start(workers=2)
    for _ in range(3):
        os.kill(server.workers()[0], signal.SIGKILL)
        for _ in range(10):
            assert server.ready()
            assert server.good()
    assert settle(lambda: server.counts()['strop_workers_up{model="double"}'] == 2)
    assert balanced(server)


def test_workers_that_never_come_up_leave_a_server_that_says_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "model").write_text(json.dumps({"first": str(tmp_path / "first")}))
    server = start(workers=1, model=str(tmp_path / "model"))
    assert server.good()
    os.kill(server.workers()[0], signal.SIGKILL)
    assert settle(lambda: server.counts()['strop_worker_restarts_total{model="double"}'] >= 2)
    assert not server.ready()
    status, row = server.ask("POST", INFER, body())
    assert (status, "has no worker left" in row["error"]) == (503, True)
    (index,) = server.ask("POST", "/v2/repository/index")[1]
    assert (index["state"], index["reason"]) == ("UNAVAILABLE", "no worker is up; the server's own log says why")
    assert server.event()["name"] == "serve.worker_lost"
    assert server.end() == 0


def test_a_worker_that_hangs_is_killed_and_replaced(start: Start) -> None:
    server = start(workers=1, hang=0.5)
    (before,) = server.workers()
    begun = time.monotonic()
    status, _ = server.ask("POST", INFER, body(ASLEEP))
    assert (status, 1.0 < time.monotonic() - begun < 10) == (503, True), "tried twice, each until the bound"
    assert settle(server.ready)
    assert server.good()
    assert server.workers() != [before]
    assert balanced(server)


def test_clients_that_leave_a_running_batch_of_a_process_harm_nobody(start: Start) -> None:
    server = start(seconds=0.3, workers=1)
    data = body()
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode()
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(answers, server, [1.0, 2.0, 3.0])
        leaving = [server.raw(head + data) for _ in range(3)]
        time.sleep(0.1)
        for connection in leaving:
            connection.close()
        assert staying.result() == [200] * 3
    assert settle(lambda: balanced(server))
    assert server.good()


@pytest.mark.parametrize("workers", [0, 1], ids=["threads", "processes"])
def test_a_newer_version_is_taken_under_load_without_a_single_refusal(start: Start, workers: int, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("{}")
    server = start(seconds=0.01, workers=workers, model=str(model))
    stop, seen = threading.Event(), [list[tuple[int, float]]() for _ in range(4)]

    def load(mine: list[tuple[int, float]]) -> None:
        while not stop.is_set():
            status, row = server.ask("POST", INFER, body())
            mine.append((status, row["outputs"][0]["data"][0] if status == 200 else 0.0))

    threads = [threading.Thread(target=load, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    try:
        for version in (2, 1, 2):
            time.sleep(0.1)
            model.write_text(json.dumps({"version": version}))
            assert server.load() == (200, {})
        assert server.good(factor=3.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for mine in seen:
        assert {status for status, _ in mine} == {200}
        changes = [a for a, b in itertools.pairwise(mine) if a != b]
        assert [value for _, value in changes] == [2.0, 3.0, 2.0], "each client sees each version once, in order"
    counts = server.counts()
    assert counts['strop_model_loads_total{model="double",result="ok"}'] == 3
    assert settle(lambda: len(server.workers()) == workers), "those of older versions have ended"
    assert balanced(server)
    assert server.end() == 0


@pytest.mark.parametrize("workers", [0, 1], ids=["threads", "processes"])
def test_a_version_that_does_not_do_is_refused_in_words_and_the_old_one_goes_on(
    start: Start, workers: int, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.write_text("{}")
    server = start(workers=workers, model=str(model))
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"damaged": True}, 400, "a part is damaged: planted. The old version goes on."),
        ({"features": 5}, 400, "its input 'x' is float32 [-1, 5]; float32 [-1, 4] is served."),
    ]
    for asked, expected, words in cases:
        model.write_text(json.dumps(asked))
        status, row = server.load()
        assert (status, words in row["error"]) == (expected, True), row
        assert server.event()["name"] == "serve.load_refused"
        assert server.good() and server.ready()
    model.unlink()
    status, row = server.load()
    assert (status, "No such file" in row["error"]) == (500, False), "the inside stays inside"
    assert server.ask("POST", "/v2/repository/models/double/load")[0] == 404, "not on the public port"
    assert server.counts()['strop_model_loads_total{model="double",result="refused"}'] == 3
    assert len(server.workers()) == workers


def test_sighup_takes_the_newer_version(start: Start, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("{}")
    server = start(model=str(model))
    model.write_text('{"version": 2}')
    server.process.send_signal(signal.SIGHUP)
    assert server.event()["name"] == "serve.loaded"
    assert server.good(factor=3.0)
