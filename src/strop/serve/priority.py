"""Who computes gives way to who answers: an engine's threads fill a core, and a request that comes waits to be read meanwhile."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from strop.units import Seconds

NICER = 5
"""Added to the niceness of what computes: of a core that both want it gets a quarter, while beside other programs it keeps
most of its share. On one core that served MiniLM this answered a tenth more in time (docs/serving.md)."""

SWITCH: Seconds = 0.2e-3
"""How long one thread keeps Python's lock from another while several requests are open: what one of them waits for is read or
sent meanwhile. Python's own 5 ms is a batch's length."""
ALONE: Seconds = 5e-3
"""The same while one request is open, and what Python begins with: whoever takes the lock away from it only makes it wait."""


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Let all threads that this process starts inside, an engine's for instance, give way. Only Linux can do that."""
    before = _threads()
    yield
    for thread in _threads() - before:
        give_way(thread)


def give_way(thread: int | None = None) -> None:
    """Let a thread, by default this one, give way to those of ordinary priority."""
    if sys.platform == "linux":
        number = threading.get_native_id() if thread is None else thread
        with contextlib.suppress(ProcessLookupError):  # a thread that helped opening and has ended
            os.setpriority(os.PRIO_PROCESS, number, min(19, os.getpriority(os.PRIO_PROCESS, number) + NICER))


def share_lock(*, several: bool) -> None:
    """Say whether several requests are open, by which Python's lock passes more or less quickly between the threads."""
    sys.setswitchinterval(SWITCH if several else ALONE)


def _threads() -> set[int]:
    tasks = Path("/proc/self/task")
    return {int(task.name) for task in tasks.iterdir()} if tasks.is_dir() else set()
