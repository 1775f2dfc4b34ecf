"""The real process behind real sockets: slow, greedy and leaving clients, signals, ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from strop.errors import UsageError
from strop.serve.server import free_port
from tests.serve.test_app import INFER, body

ROOT = Path(__file__).resolve().parents[2]
PROCESS = """
import asyncio, json, sys
from pathlib import Path
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.isolated import ProcessWorkers
from strop.serve.latency import LatencyModel, Seed
from strop.serve.limits import Limits
from strop.serve.policy import Policy
from strop.serve.scheduler import Scheduler
from strop.serve.server import Address, new_loop, serve
from strop.serve.stack import Stacker
from strop.serve.version import Loader, Version
from strop.serve.workers import ThreadWorkers
from tests.serve.doubler import plain_signature
from tests.serve.faulty import FACTORY, opened

options = json.loads(sys.argv[1])
count, seconds = options.get("workers", 0), options["seconds"]

def load():
    asked = json.loads(Path(options["model"]).read_text()) if "model" in options else {}
    signature = plain_signature(None, asked.pop("features", 4))
    if count:
        workers = ProcessWorkers(FACTORY, {"seconds": seconds, **asked}, signature, count)
        workers.wait()
    else:
        workers = ThreadWorkers(opened(seconds, **asked).program, 1)
    latency = LatencyModel([Seed(width=4, rows=rows, seconds=max(seconds, 1e-3)) for rows in (1, 8)], 8)
    return Version(workers, signature, Stacker(signature), latency, "test")

async def main():
    version = load()
    policy = Policy(objective=options.get("objective", 5.0), max_rows=8, executors=count or 1)
    say = lambda event: print(json.dumps({"name": event.name, "text": event.text, **event.data}), flush=True)
    scheduler = Scheduler(policy, version.latency)
    desk = Desk(version.workers, version.stacker, scheduler, hang=options.get("hang", 30.0), observer=say)
    app = App(desk, version.signature, name="double", platform="test", limits=Limits(**options["limits"]))
    loader = Loader(desk, version.signature, load, {"artefact/x": "a part"}, say)
    address = Address(port=options.get("port", 0), grpc_port=options.get("grpc"), admin_port=0)
    return await serve(app, address, {}, say, loader)

with asyncio.Runner(loop_factory=new_loop) as runner:
    sys.exit(0 if runner.run(main()) else 1)
"""


class Server:
    """A serving process.

    Attributes:
        port: of the protocol.
        admin: of the metrics.
        grpc: of the protocol on gRPC, or empty.
    """

    def __init__(self, seconds: float, limits: dict[str, float], **options: Any) -> None:
        settings = json.dumps({"seconds": seconds, "limits": limits, **options})
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, settings],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = self.event()
        self.port, self.admin = (int(ready[name].rpartition(":")[2]) for name in ("url", "admin"))
        self.grpc = ready["grpc"].rpartition(":")[2]

    def event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, path: str, data: bytes | None = None, *, admin: bool = False, **headers: str) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.admin if admin else self.port, timeout=20)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if answer.getheader("content-type") == "application/json" else text
        finally:
            connection.close()

    def good(self, value: float = 1.0, factor: float = 2.0) -> bool:
        status, row = self.ask("POST", INFER, body(value))
        return status == 200 and row["outputs"][0]["data"] == [factor * value] * 4

    def raw(self, data: bytes, *, more: bool = False) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(data)
        return connection

    def counts(self) -> dict[str, float]:
        lines = self.ask("GET", "/metrics", admin=True)[1].decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line.startswith("strop_"))}

    def outcome(self, name: str) -> float:
        return self.counts()[f'strop_requests_total{{model="double",outcome="{name}"}}']

    def load(self) -> tuple[int, Any]:
        return self.ask("POST", "/v2/repository/models/double/load", admin=True)

    def workers(self) -> list[int]:
        """Return the processes that the server started."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sorted({int(pid) for task in tasks for pid in (task / "children").read_text(encoding="ascii").split()})

    def ready(self) -> bool:
        return self.ask("GET", "/v2/health/ready")[0] == 200

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self) -> int:
        """Stop and return the exit code; the balance must hold."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts serving processes and sees to it that none is left."""
    started: list[Server] = []

    def run(seconds: float = 0.0, limits: dict[str, float] | None = None, **options: Any) -> Server:
        started.append(Server(seconds, limits or {}, **options))
        return started[-1]

    yield run
    for server in started:
        with server.process:
            server.process.kill()


def response(connection: socket.socket) -> bytes:
    """Return what comes until the server closes or nothing comes for a while."""
    connection.settimeout(5)
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
            head, found, rest = got.partition(b"\r\n\r\n")
            if found and len(rest) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
                break
    except (ConnectionResetError, TimeoutError):
        return got
    return got


def head(length: int | None, extra: str = "") -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"POST {INFER} HTTP/1.1\r\nhost: x\r\n{size}\r\n{extra}\r\n".encode()


def settle(check: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return False


def test_the_process_serves_counts_drains_and_says_so(start: Callable[..., Server]) -> None:
    server = start()
    assert all(server.good(float(value)) for value in range(5))
    assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    assert server.ask("GET", "/v2/health/live", admin=True) == (200, {"live": True})
    assert server.ask("GET", "/v2/models/double", admin=True)[0] == 404, "the admin port serves no model"
    assert b"<title>strop serve</title>" in server.ask("GET", "/", admin=True)[1]
    assert settle(lambda: sum(server.ask("GET", "/stats", admin=True)[1]["series"].get("ok", ())) > 0)
    assert server.ask("GET", "/stats", admin=True, host="evil.example")[0] == 403
    assert server.outcome("ok") == 5
    assert server.end() == 0
    assert server.event()["name"] == "serve.draining"
    ended = server.event()
    assert (ended["name"], ended["sent"], ended["ok"]) == ("serve.ended", 5, 5)


def test_bodies_beyond_the_limit_are_not_read(start: Callable[..., Server]) -> None:
    server = start(limits={"body": 100_000})
    assert b" 413 " in response(server.raw(head(100_001)))[:20], "announced: refused unread"
    sender = server.raw(head(None))
    block = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    sent = 0
    try:
        for _ in range(1000):
            sender.sendall(block)
            sent += 0x8000
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert sent < 20_000_000, "reading stopped at the limit; what the kernel buffers is all that went out"
    assert settle(lambda: server.outcome("failed") == 2)
    few = server.raw(head(None) + b"".join([block] * 4))
    assert b" 413 " in response(few)[:20]
    tiny = server.raw(head(None) + b"1\r\n \r\n" * 5000)
    assert b" 413 " in response(tiny)[:20], "many small pieces are refused by their number"
    assert server.ask("POST", INFER, b"x" * 1000, **{"content-encoding": "gzip"})[0] == 415
    assert server.good()


def test_a_chunked_body_within_the_limit_is_read(start: Callable[..., Server]) -> None:
    server = start()
    data = body(2.0)
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(data[i : i + 7]), data[i : i + 7]) for i in range(0, len(data), 7))
    assert b"[4.0,4.0,4.0,4.0]" in response(server.raw(head(None) + pieces + b"0\r\n\r\n"))


def test_slow_clients_are_turned_away_and_others_do_not_notice(start: Callable[..., Server]) -> None:
    server = start(limits={"body_wait": 1.0, "header_wait": 1.0})
    before = server.descriptors()
    bodies = [server.raw(head(100) + b"{") for _ in range(100)]
    headers = [server.raw(b"POST /v2 HTTP/1.1\r\nhost: x\r\n") for _ in range(100)]
    assert all(server.good(float(value)) for value in range(20))
    time.sleep(1.2)
    assert all(b" 408 " in response(slow)[:20] for slow in bodies)
    assert {response(slow)[:12] for slow in headers} <= {b"", b"HTTP/1.1 408"}
    assert server.good()
    for slow in (*bodies, *headers):
        slow.close()
    assert settle(lambda: server.descriptors() <= before + 4)
    assert server.outcome("failed") == 100
    assert server.counts()['strop_requests_in_flight{model="double"}'] == 0


def test_clients_that_leave_are_not_computed_and_nothing_is_left(start: Callable[..., Server]) -> None:
    server = start(seconds=0.3)
    before = server.descriptors()
    data = body()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.good)
        time.sleep(0.1)
        leaving = [server.raw(head(len(data)) + data) for _ in range(20)]
        time.sleep(0.1)
        for connection in leaving:
            connection.close()
        assert running.result()
    assert server.good()
    assert settle(lambda: server.outcome("cancelled") == 20)
    assert server.counts()['strop_batch_rows_sum{model="double"}'] == 2, "only those who stayed were computed"
    half = server.raw(head(1000) + b"{")
    half.close()
    assert settle(lambda: server.outcome("cancelled") == 21)
    assert settle(lambda: server.descriptors() <= before + 4)


def test_sigterm_answers_what_was_taken_and_refuses_what_comes(start: Callable[..., Server]) -> None:
    server = start(seconds=0.5)
    idle = HTTPConnection("127.0.0.1", server.port, timeout=10)
    idle.request("GET", "/v2/health/ready")
    assert idle.getresponse().read() == b'{"ready":true}'
    with ThreadPoolExecutor(8) as pool:
        taken = [pool.submit(server.good, float(value)) for value in range(8)]
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.event()["name"] == "serve.draining"
        idle.request("GET", "/v2/health/ready")
        answer = idle.getresponse()
        assert (answer.status, answer.read()) == (503, b'{"ready":false}')
        idle.request("POST", INFER, body())
        late = idle.getresponse()
        assert (late.status, late.getheader("connection")) == (503, "close")
        assert all(future.result() for future in taken)
    assert server.process.wait(10) == 0


def test_a_second_sigterm_ends_the_waiting_and_the_exit_code_says_so(start: Callable[..., Server]) -> None:
    server = start(seconds=3.0)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(server.ask, "POST", INFER, body())
        time.sleep(0.3)
        for _ in range(2):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert taken.result()[0] == 503
    assert server.process.wait(10) == 1


def test_health_and_metrics_answer_under_load(start: Callable[..., Server]) -> None:
    server = start(seconds=0.05)
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            server.good()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        spent = []
        for _ in range(10):
            for path, admin in (("/v2/health/live", False), ("/metrics", True)):
                begin = time.monotonic()
                assert server.ask("GET", path, admin=admin)[0] == 200
                spent.append(time.monotonic() - begin)
        assert sorted(spent)[len(spent) // 2] < 0.5
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert server.counts()["strop_ledger_unaccounted" + '{model="double"}'] == 0


def test_a_taken_port_is_told_and_never_shared(start: Callable[..., Server]) -> None:
    server = start()
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{server.port}: .*Choose another --port"):
        free_port("127.0.0.1", server.port)
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:"):
        free_port("192.0.2.1", 0)
