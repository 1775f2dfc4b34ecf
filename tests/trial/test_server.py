"""The process that holds a server: it waits for it, sees it die, and ends it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator

import pytest

from strop.errors import StropError
from strop.trial.server import ServerTarget, peak, read_account

READY = json.dumps({"name": "serve.ready", "url": "http://127.0.0.1:1", "admin": "http://127.0.0.1:1", "model": "m", "seeds": []})
TALKS = f"print('not JSON'); print('{{\"name\": \"serve.warm\"}}'); print('''{READY}''', flush=True)"


def target(code: str, cores: tuple[int, ...] = ()) -> ServerTarget:
    return ServerTarget([sys.executable, "-c", code], cores)


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_it_waits_for_the_event_among_what_a_server_prints() -> None:
    core = max(os.sched_getaffinity(0))
    held = target(f"{TALKS}\nimport time; time.sleep(60)", (core,))
    held.run("arrivals", 0)
    assert held.call("ready", {})["model"] == "m"
    assert held.call("peak", {}) > 1 << 20
    assert os.sched_getaffinity(held._server.pid) == {core}
    begun = time.monotonic()
    held.close()
    assert held._server.poll() is not None and time.monotonic() - begun < 10


def test_a_server_that_ignores_its_end_is_killed() -> None:
    held = target(f"import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{TALKS}\ntime.sleep(60)")
    held.close()
    assert held._server.returncode == -9


def test_one_that_does_not_start_is_told_in_its_own_last_words() -> None:
    with pytest.raises(StropError, match=r"the server did not start: the objective is too short$"):
        target("import sys; print('chatter', file=sys.stderr); sys.exit('strop: the objective is too short')")
    with pytest.raises(StropError, match=r"the server did not start\.$"):
        target("pass")


def test_one_that_died_is_told_with_its_exit_code() -> None:
    held = target(f"{TALKS}\nimport sys; sys.exit('gone')")
    held._server.wait()
    with pytest.raises(StropError, match="the server left with exit code 1: gone"):
        held.call("ready", {})


def test_a_talkative_server_does_not_stop_for_want_of_a_listener() -> None:
    held = target(f"{TALKS}\nprint('x' * 1_000_000, flush=True)")
    assert held._server.wait(30) == 0


def test_counts_are_read_from_what_prometheus_is_shown() -> None:
    text = (
        "# HELP strop_requests_sent_total Requests that came.\n"
        'strop_requests_sent_total{model="a b"} 12.0\n'
        'strop_requests_total{model="a b",outcome="ok"} 1e+01\n'
        'strop_requests_total{model="a b",outcome="refused"} 2.0\n'
        'strop_request_failures_total{model="a b",reason="rejected"} 2.0\n'
    )
    assert read_account(text) == {"sent": 12, "ok": 10, "refused": 2}
    assert peak(os.getpid()) > 1 << 20
