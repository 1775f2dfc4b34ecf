"""A small numpy-only target with planted properties: the instrument is proven on it, live.

Everything planted is real work, real memory or a real fault; nothing sleeps, because a sleeping call dodges contention and
frequency effects.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from strop.errors import UsageError

Plant = Literal[
    "",
    "memory",
    "spinner",
    "segfault",
    "hang",
    "hog",
    "raise",
    "wrong",
    "shape",
    "cache",
    "cheat",
    "moody",
    "leave",
    "kill",
    "child",
]
"""What goes wrong, and when it does (always inside ``run``, unless said otherwise):

* ``memory``: a block of ``plant_bytes`` is touched and given back. * ``spinner``: a thread burns processor time between calls.
* ``segfault``, ``kill``, ``leave``: the process ends by a bad address, by SIGKILL, by ``_exit(3)``. * ``hang``: never returns.
* ``hog``: allocates until refused, 4 GiB at most. * ``raise``: raises ``ValueError``. * ``wrong``: answers are off by a tenth.
* ``shape``: answers have a row less. * ``cache``: answers of the latest input are kept. * ``cheat``: timed answers differ from
evaluated ones. * ``moody``: answers differ from call to call. * ``child``: a child process is started and left running.
Faults wait until call number ``after``.
"""


_HOG_BLOCKS = 256
"""Blocks of 16 MiB; an end, so that a broken limit cannot take the machine down."""


class TinyTarget:
    """Answers ``tanh(x @ w)`` summed over ``units`` equal matrix products.

    Args:
        units: matrix products per call; the cost of a call is proportional to it.
        extra: planted additional cost, as a share of ``units``; ``units * extra`` must be whole.
        size: rows and columns of the matrices.
        points: operating point → number of inputs; the inputs of the second point are twice as many rows, and so on.
        plant: what goes wrong.
        plant_bytes: how much for ``memory``.
        after: calls before a fault happens.
        load_bytes: memory touched and given back while the target is built.
    """

    def __init__(
        self,
        *,
        units: int = 40,
        extra: float = 0.0,
        size: int = 64,
        points: Mapping[str, int] | None = None,
        plant: Plant = "",
        plant_bytes: int = 64 << 20,
        after: int = 3,
        load_bytes: int = 0,
    ) -> None:
        np.ones(load_bytes, dtype=np.uint8)
        added = units * extra
        if abs(added - round(added)) > 1e-9:
            raise UsageError(f"extra={extra} of {units} units is {added} units; plant a whole number, or change units.")
        self._units, self._plant, self._plant_bytes, self._after = units + round(added), plant, plant_bytes, after
        self.points = dict(points or {"tiny": 16})
        random = np.random.default_rng(7)
        self._weights = random.standard_normal((size, size), dtype=np.float32) / np.float32(np.sqrt(size))
        self._inputs = {
            point: random.standard_normal((count, size * (number + 1), size), dtype=np.float32)
            for number, (point, count) in enumerate(self.points.items())
        }
        self._answer = np.zeros(0, dtype=np.float32)
        self._latest: tuple[str, int, int] | None = None
        self.calls = 0
        if plant == "spinner":
            threading.Thread(target=_spin, daemon=True).start()

    def run(self, point: str, index: int) -> None:
        """Make one call."""
        self._call(point, index, 0)
        if self._plant == "cheat":
            self._answer = self._answer + 1

    def run_variant(self, point: str, index: int, variant: int) -> None:
        """Make one call on an input never seen before: the indexed one, rolled by ``variant`` places and shifted."""
        self._call(point, index, variant)

    def digest(self, point: str, index: int) -> str:
        """Answer and return the digest of the answer."""
        self._call(point, index, 0)
        return self.answer_digest()

    def answer_digest(self) -> str:
        """Return the digest of the latest answer."""
        return hashlib.sha256(str(self._answer.shape).encode() + self._answer.tobytes()).hexdigest()

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Answer and return the shape of the answer."""
        self._call(point, index, 0)
        return [list(self._answer.shape)]

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``{"method", "arguments", "calls"}``; the method ``"evaluate"`` returns the mean of each answer."""
        if method == "evaluate":
            return [self._evaluate(arguments["point"], index) for index in range(self.points[arguments["point"]])]
        return {"method": method, "arguments": dict(arguments), "calls": self.calls}

    def close(self) -> None:
        """Hold nothing."""

    def _evaluate(self, point: str, index: int) -> float:
        self._call(point, index, 0)
        return float(self._answer.mean())

    def _call(self, point: str, index: int, variant: int) -> None:
        self.calls += 1
        if self.calls > self._after:
            self._misbehave()
        key = (point, index, variant)
        if self._plant == "cache" and key == self._latest:
            return
        x = self._inputs[point][index]
        if variant:
            x = np.roll(x, variant, axis=0)
        answer = np.zeros_like(x)
        for _ in range(self._units):
            answer += np.tanh(x @ self._weights)
        self._latest, self._answer = key, self._altered(answer / np.float32(self._units))

    def _altered(self, answer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self._plant == "wrong":
            return answer * np.float32(1.1)
        if self._plant == "shape":
            return answer[:-1]
        if self._plant == "moody":
            return answer + np.float32(self.calls)
        return answer

    def _misbehave(self) -> None:
        if self._plant == "memory":
            np.ones(self._plant_bytes, dtype=np.uint8)
        elif self._plant == "segfault":
            sys.stdout.write("about to read a bad address\n")
            import ctypes

            ctypes.string_at(1)
        elif self._plant == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._plant == "leave":
            os._exit(3)
        elif self._plant == "raise":
            raise ValueError("planted error")
        elif self._plant == "hang":
            threading.Event().wait()
        elif self._plant == "hog":
            held = [np.ones(16 << 20, dtype=np.uint8) for _ in range(_HOG_BLOCKS)]
            raise RuntimeError(f"{len(held) * 16} MiB were given out; the limit did not hold")
        elif self._plant == "child":
            import subprocess

            subprocess.Popen(["/bin/sleep", "600"])
            self._plant = ""


def _spin() -> None:
    while True:
        pass


def tiny(arguments: Mapping[str, Any]) -> TinyTarget:
    """Build a :class:`TinyTarget` from its settings; ``import_seconds`` burns processor time first, as a slow import would."""
    settings = dict(arguments)
    end = time.process_time() + settings.pop("import_seconds", 0.0)
    while time.process_time() < end:
        pass
    return TinyTarget(**settings)
