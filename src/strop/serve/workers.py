"""Threads that run batches; engines release Python's lock while they compute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from strop.units import Seconds

Job = Callable[[], Any]
Report = Callable[[Any, BaseException | None], None]
"""Called in the worker's thread with the result, or with what was raised instead."""


class Workers:
    """A fixed number of threads that take jobs in order.

    They are daemons: an engine that hangs must not keep the process from ending.

    Args:
        count: jobs that run side by side.
    """

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[tuple[Job, Report] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Start one more thread, in place of one that hangs."""
        self._threads.append(threading.Thread(target=self._work, name=f"strop-worker-{len(self._threads) + 1}", daemon=True))
        self._threads[-1].start()

    def submit(self, job: Job, report: Report) -> None:
        """Run ``job`` in the next thread that is free."""
        self._jobs.put((job, report))

    def retire(self) -> None:
        """Let one thread end after what was submitted before."""
        self._jobs.put(None)

    def close(self, seconds: Seconds = 1.0) -> None:
        """Let all threads end after what was submitted before, and wait so long for them.

        A thread that ends later may be the last to hold the program and free it there, while OpenVINO must be freed in the
        thread that opened it: its plugin gives back the signal stack of that thread, without which the next signal is fatal.
        """
        for _ in self._threads:
            self.retire()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, report = task
            report(*attempt(job))
            del task, job, report  # nothing of a request outlives it in an idle thread


def attempt(job: Job) -> tuple[Any, BaseException | None]:
    """Run a job; return its result, or what it raised instead."""
    try:
        return job(), None
    except BaseException as error:  # noqa: BLE001 - engines raise anything; whoever waits for the job is told
        return None, error
