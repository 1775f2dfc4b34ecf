"""What the process of a served arm runs: a real ``strop serve`` as its child, in the same process group.

The group is stopped and continued as a whole and ends with its parent. Nothing of the server is loaded here: this process
only starts it, waits until it listens, and looks whether it is still there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strop.errors import StropError
from strop.units import Bytes, Seconds

POINT = "arrivals"
SCHEDULES = 4096
"""Different windows that can be drawn."""
GOING: Seconds = 1.5
"""Time a server has to leave; nothing is open when it is told to."""
ASKING: Seconds = 5.0
COUNTS = re.compile(r"^strop_requests(_sent)?_total\{([^}]*)\} (\S+)$", re.MULTILINE)


class ServerTarget:
    """A server that listens; what ``strop.measure`` calls a target. Its load comes from outside.

    Args:
        command: starts the server; it must print events as JSON lines, ``serve.ready`` among them.
        cores: processors it may run on; empty: those of this process.

    Raises:
        StropError: it ended before it listened.
    """

    points: Mapping[str, int] = {POINT: SCHEDULES}

    def __init__(self, command: Sequence[str], cores: Sequence[int]) -> None:
        if cores:
            os.sched_setaffinity(0, cores)  # which children inherit
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server
        self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors)
        self._ready = self._wait()
        threading.Thread(target=self._copy, daemon=True).start()  # or a talkative server would fill the pipe and stop

    def run(self, point: str, index: int) -> None:
        """Look whether the server is still there.

        Raises:
            StropError: it has ended.
        """
        if self._server.poll() is not None:
            raise StropError(f"the server left with exit code {self._server.returncode}{self._words()}")

    def digest(self, point: str, index: int) -> str:
        """Answer nothing: what a bundle answers was judged when it was made."""
        return ""

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Answer nothing."""
        return []

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``ready`` (what that event held), ``account`` (the server's own counts of requests) or ``peak`` (bytes)."""
        self.run(POINT, 0)
        if method == "ready":
            return self._ready
        if method == "account":
            with urllib.request.urlopen(f"{self._ready['admin']}/metrics", timeout=ASKING) as answer:  # noqa: S310 - our own
                return read_account(answer.read().decode())
        if method == "peak":
            return peak(self._server.pid)
        raise ValueError(f"a server target has no method {method!r}")

    def close(self) -> None:
        """Let the server leave."""
        self._server.terminate()
        try:
            self._server.wait(GOING)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def _wait(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                sys.stdout.write(line.decode(errors="replace"))
                continue
            if event["name"] == "serve.ready":
                return dict(event)
        self._server.wait()
        raise StropError(f"the server did not start{self._words()}")

    def _copy(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            sys.stdout.write(line.decode(errors="replace"))

    def _words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].removeprefix('strop: ')}" if lines else "."


def read_account(metrics: str) -> dict[str, int]:
    """Read how many requests came (``sent``) and how each kind ended from what a server shows Prometheus."""
    found = {}
    for sent, labels, count in COUNTS.findall(metrics):
        outcome = "sent" if sent else labels.partition('outcome="')[2].partition('"')[0]
        found[outcome] = int(float(count))
    return found


def peak(pid: int) -> Bytes:
    """Return the most resident memory a process ever had, by the kernel's own mark."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    return int(rows["VmHWM"].split()[0]) * 1024


def open_server(arguments: Mapping[str, Any]) -> ServerTarget:
    """Start the server that ``command`` says, on ``cores``."""
    return ServerTarget(arguments["command"], arguments["cores"])
