"""Everything goes wrong at once for a while; afterwards all is accounted for, nothing has grown, and the server answers."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.serve.doubler import POISON
from tests.serve.test_app import INFER, body
from tests.serve.test_server import Server, head, settle, start

__all__ = ["start"]  # a fixture

KNOWN = {200, 400, 413, 429, 500, 503, 504}
BODY = 100_000
GROWTH = 64 << 20
"""Bytes that the server may hold more than before: what its allocator keeps after a peak."""


class Chaos:
    """Clients of every kind, and what else may happen to a server, each in a thread of its own.

    Args:
        server: whose workers and model are tampered with.
        model: file that says which version is on disk.
        seed: of what happens when.
    """

    def __init__(self, server: Server, model: Path, seed: int) -> None:
        self.server, self.model, self.seed = server, model, seed
        self.seen: Counter[int] = Counter()
        self.left, self.killed, self.loaded, self.wrong = 0, 0, 0, list[str]()
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self, seconds: float) -> None:
        """Let everything happen for so long."""
        acts: list[tuple[Callable[[random.Random], None], float]] = [
            (self.ask, 0.0), (self.ask, 0.002), (self.ask, 0.01), (self.spoil, 0.02), (self.flood, 0.05),
            (self.leave, 0.01), (self.leave, 0.02), (self.kill, 1.5), (self.load, 0.3),
        ]  # fmt: skip
        threads = [
            threading.Thread(target=self._repeat, args=(act, pause, random.Random(self.seed + number)))
            for number, (act, pause) in enumerate(acts)
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()

    def ask(self, draw: random.Random) -> None:
        """Ask for something good; a right answer of either version, or an honest refusal."""
        value = float(draw.randrange(100))
        status, row = self.note(*self.server.ask("POST", INFER, body(value)))
        if status == 200 and row["outputs"][0]["data"] not in ([2 * value] * 4, [3 * value] * 4):
            self.wrong.append(f"{value} became {row}")

    def spoil(self, draw: random.Random) -> None:
        """Ask for nonsense, or for what the model fails on."""
        bad = draw.choice([b"", b"{", b"[]", b'{"inputs": 7}', b"\xff\xfe", body(1.0)[:-9], body(POISON), body(1.0, inputs=[])])
        status, _ = self.note(*self.server.ask("POST", INFER, bad))
        if status == 200:
            self.wrong.append(f"{bad!r} was answered")

    def flood(self, draw: random.Random) -> None:
        """Announce, or send, more than is allowed."""
        self.note(*self.server.ask("POST", INFER, b"x" * (BODY + draw.randrange(1, 1000))))

    def leave(self, draw: random.Random) -> None:
        """Send a part of a request or all of it, and be gone."""
        data = head(len(body())) + body()
        connection = self.server.raw(data[: draw.randrange(1, len(data) + 1)])
        time.sleep(draw.random() * 0.02)
        connection.close()
        self.left += 1

    def kill(self, draw: random.Random) -> None:
        """Kill a worker, wherever it is."""
        workers = self.server.workers()
        if workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
            self.killed += 1

    def load(self, draw: random.Random) -> None:
        """Put another version on disk, good or bad, and have it loaded."""
        self.model.write_text(draw.choice(['{"version": 1}', '{"version": 2}'] * 2 + ['{"damaged": true}', '{"features": 5}']))
        status, _ = self.server.load()
        self.loaded += status == 200

    def note(self, status: int, row: Any) -> tuple[int, Any]:
        """Count an answer."""
        with self._lock:
            self.seen[status] += 1
        return status, row

    def _repeat(self, act: Callable[[random.Random], None], pause: float, draw: random.Random) -> None:
        while not self._stop.wait(pause * draw.uniform(0.5, 1.5)):
            try:
                act(draw)
            except (OSError, HTTPException) as error:  # a refused body may break the connection before the answer is read
                if act != self.flood:
                    self.wrong.append(repr(error))


def held(server: Server) -> tuple[int, int, int]:
    """Return the server's bytes of memory of its own, descriptors and threads."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    rows = dict(line.split(":", 1) for line in status.splitlines())
    return int(rows["RssAnon"].split()[0]) << 10, server.descriptors(), int(rows["Threads"])


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_after_chaos_all_is_accounted_for_and_nothing_has_grown(
    start: Callable[..., Server], seconds: int, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.write_text(json.dumps({"version": 1}))
    server = start(seconds=0.002, workers=2, model=str(model), limits={"body": BODY, "body_wait": 1.0, "header_wait": 1.0})
    threading.Thread(target=lambda: list(iter(server.process.stdout.readline, "")), daemon=True).start()  # type: ignore[union-attr]
    Chaos(server, model, seed=1).run(1.0)  # what it holds for good, it holds now
    assert settle(lambda: server.ready() and len(server.workers()) == 2)
    memory, descriptors, threads = held(server)
    before = server.counts()['strop_requests_sent_total{model="double"}']

    chaos = Chaos(server, model, seed=2)
    chaos.run(seconds)
    assert chaos.wrong == []
    assert set(chaos.seen) <= KNOWN
    assert min(chaos.seen[200], chaos.seen[400], chaos.left, chaos.killed, chaos.loaded) > 0, "everything did happen"
    model.write_text(json.dumps({"version": 1}))
    assert settle(lambda: server.ready() and len(server.workers()) == 2)
    assert server.load()[0] == 200
    assert server.good()

    assert settle(lambda: server.counts()['strop_requests_in_flight{model="double"}'] == 0)
    counts = server.counts()
    ended = {name: n for name, n in counts.items() if name.startswith("strop_requests_total")}
    sent = counts['strop_requests_sent_total{model="double"}']
    assert counts['strop_ledger_unaccounted{model="double"}'] == 0
    assert sum(ended.values()) == sent
    answered = chaos.seen.total() + 1
    assert answered <= sent - before <= answered + chaos.left, "every answer was counted, and who left at most once"
    assert settle(lambda: held(server)[1] <= descriptors + 4), sorted(
        map(os.readlink, Path(f"/proc/{server.process.pid}/fd").iterdir())
    )
    assert settle(lambda: held(server)[2] <= threads + 2)
    assert held(server)[0] <= memory + GROWTH
    assert settle(lambda: len(server.workers()) == 2)
    assert server.end() == 0
