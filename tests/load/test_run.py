from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from strop.errors import UsageError
from strop.load.run import LoadPlan, run_load, split_url
from tests.load.scripted_server import ScriptedServer, at_once, slow, statuses


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://127.0.0.1:8080", ("http://127.0.0.1:8080", "")),
        ("http://127.0.0.1:8080/", ("http://127.0.0.1:8080", "")),
        ("https://host/v2/models/m/infer", ("https://host", "/v2/models/m/infer")),
        ("http://host/predict?x=1", ("http://host", "/predict?x=1")),
    ],
)
def test_an_address_is_a_server_and_a_path(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost", "ftp://host", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"for instance http://127\.0\.0\.1:8080"):
        split_url(url)


def test_the_client_s_account_is_the_server_s_own_count() -> None:
    """A third is refused, a third fails; the server has seen the rehearsal besides."""
    with ScriptedServer(statuses(200, 429, 500), models=["echo"]) as server:
        result = run_load(LoadPlan(url=server.url, rates=(150.0,), seconds=0.6, arrivals="uniform"))
        account = result.runs[0].summary.account
        assert account["sent"] == 90 == len(server.bodies) - 1
        assert (account["ok"], account["refused"], account["failed"]) == (30, 30, 30)
        assert result.runs[0].summary.codes == {"200": 30, "429": 30, "500": 30}
        assert not result.interrupted


def test_a_sweep_runs_every_rate_and_random_requests_take_turns() -> None:
    with ScriptedServer() as server:
        result = run_load(LoadPlan(url=f"{server.url}/v2/models/echo", rates=(100.0, 200.0), seconds=0.5, arrivals="uniform"))
        assert [run.summary.account["ok"] for run in result.runs] == [50, 100]
        assert len(set(server.bodies)) == 64
        names = [row["name"] for row in json.loads(server.bodies[0])["inputs"]]
        assert names == ["x", "ids"]


def test_binary_requests_say_so() -> None:
    with ScriptedServer() as server:
        run_load(LoadPlan(url=server.url, model="echo", rates=(50.0,), seconds=0.1, binary=True))
        assert {headers["Content-Type"] for headers in server.headers} == {"application/octet-stream"}
        assert all("Inference-Header-Content-Length" in headers for headers in server.headers)


def test_any_address_takes_bodies_from_a_file(tmp_path: Path) -> None:
    source = tmp_path / "calls.jsonl"
    source.write_text('{"a": 1}\n[2]\n')
    with ScriptedServer() as server:
        result = run_load(LoadPlan(url=f"{server.url}/anything", source=source, rates=(50.0,), seconds=0.2, arrivals="uniform"))
        assert result.target == "/anything"
        assert result.sizes == (3, 8)
        assert server.bodies[1:5] == [b'{"a": 1}', b"[2]", b'{"a": 1}', b"[2]"]
        with pytest.raises(UsageError, match="must be given with --input"):
            run_load(LoadPlan(url=f"{server.url}/anything", rates=(50.0,), seconds=0.2))


def test_names_with_signs_of_their_own_reach_the_server() -> None:
    with ScriptedServer(models=["a b/ü"]) as server:
        for url, model in ((server.url, "a b/ü"), (f"{server.url}/v2/models/a%20b%2F%C3%BC", None), (server.url, None)):
            result = run_load(LoadPlan(url=url, model=model, rates=(50.0,), seconds=0.1))
            assert result.runs[0].summary.account["failed"] == 0
            assert result.target == "/v2/models/a%20b%2F%C3%BC/infer"


def test_bad_arrivals_are_refused_before_the_server_is_asked() -> None:
    with pytest.raises(UsageError, match="Did you mean 'poisson'"):
        run_load(LoadPlan(url="http://127.0.0.1:9", rates=(1.0,), arrivals="poison"))


def after(server: ScriptedServer, requests: int, number: int) -> None:
    """Send this process a signal once the server has met that many requests: a slow machine takes longer, and no more."""

    def wait() -> None:
        while len(server.bodies) < requests:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_load_with_what_was_measured(number: int) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ScriptedServer(slow(0.05)) as server:
        after(server, 20, number)
        result = run_load(LoadPlan(url=server.url, model="echo", rates=(100.0, 50.0), seconds=30.0))
        account = result.runs[0].summary.account
        assert result.interrupted and len(result.runs) == 1
        assert account["ok"] > 0 and account["cancelled"] > 0
        assert account["sent"] < account["scheduled"]
        assert "interrupted" in [finding.code for finding in result.runs[0].summary.findings]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


def test_an_interrupt_before_anything_was_counted_is_an_interrupt() -> None:
    with ScriptedServer(at_once) as server:
        after(server, 3, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            run_load(LoadPlan(url=server.url, model="echo", rates=(50.0,), seconds=30.0, warmup=30.0))
