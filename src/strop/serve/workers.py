"""Threads that run batches; engines release Python's lock while they compute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

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
        self._count = 0
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Start one more thread, in place of one that hangs."""
        self._count += 1
        threading.Thread(target=self._work, name=f"strop-worker-{self._count}", daemon=True).start()

    def submit(self, job: Job, report: Report) -> None:
        """Run ``job`` in the next thread that is free."""
        self._jobs.put((job, report))

    def retire(self) -> None:
        """Let one thread end after what was submitted before."""
        self._jobs.put(None)

    def close(self) -> None:
        """Let all threads end after what was submitted before."""
        for _ in range(self._count):
            self.retire()

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
