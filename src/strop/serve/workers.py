"""Who runs batches: threads of this process, or (``isolated.py``) processes of their own."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from strop.contract.engine import Program
from strop.errors import StropError
from strop.observe import Observer
from strop.serve.priority import give_way
from strop.units import Seconds

Job = Callable[[Program], Any]
Report = Callable[[Any, BaseException | None], None]
"""Called in a thread of the worker's with the result, or with what was raised instead."""


class WorkerLostError(StropError):
    """The process that ran a batch has ended; nothing is known of the batch's answer."""


@dataclass(slots=True, eq=False)
class Task:
    """A job on its way.

    Attributes:
        job: what to run.
        report: whom to tell.
        program: what runs it, once that is known.
        ended: it was given up.
    """

    job: Job
    report: Report
    program: Program | None = None
    ended: bool = False


class Workers(ABC):
    """A number of workers that take jobs in order.

    Attributes:
        count: jobs that run side by side when all is well.
        here: the program, where the caller may also run a quick job itself; else ``None``.
        restarts: how often a worker was started anew.
    """

    count: int
    here: Program | None = None
    restarts: int = 0

    @property
    @abstractmethod
    def up(self) -> int:
        """Workers that can run jobs now."""

    @abstractmethod
    def submit(self, job: Job, report: Report) -> Task:
        """Run ``job`` in the next worker that is free."""

    @abstractmethod
    def end(self, task: Task) -> bool:
        """Give up a job that hangs. Tell whether it ends by that: its report then comes soon, as that of a lost worker."""

    @abstractmethod
    def close(self, seconds: Seconds = 1.0) -> None:
        """Let all workers end after what was submitted before, wait so long for them, and close their programs."""

    def watch(self, observer: Observer) -> None:  # noqa: B027 - threads neither come nor go
        """Tell ``observer``, from any thread, when workers come and go."""


class ThreadWorkers(Workers):
    """Threads of this process; engines release Python's lock while they compute.

    They are daemons: an engine that hangs must not keep the process from ending.

    Args:
        program: called from all threads; closed with the workers.
        count: jobs that run side by side.
    """

    def __init__(self, program: Program, count: int) -> None:
        self.here, self.count = program, count
        self._program = program
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(count):
            self._add()

    @property
    def up(self) -> int:
        """All of them, always."""
        return self.count

    def submit(self, job: Job, report: Report) -> Task:
        """Run ``job`` in the next thread that is free."""
        task = Task(job, report, self._program)
        self._tasks.put(task)
        return task

    def end(self, task: Task) -> bool:
        """Start one more thread in place of the one that hangs, which ends when it comes back."""
        task.ended = True
        self._add()
        return False

    def close(self, seconds: Seconds = 1.0) -> None:
        """Let all threads end after what was submitted before, wait so long for them, and close the program if they did.

        A thread that ends later may be the last to hold the program and free it there, while OpenVINO must be freed in the
        thread that opened it: its plugin gives back the signal stack of that thread, without which the next signal is fatal.
        """
        for _ in self._threads:
            self._tasks.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            self._program.close()

    def _add(self) -> None:
        self._threads.append(threading.Thread(target=self._work, name=f"strop-worker-{len(self._threads) + 1}", daemon=True))
        self._threads[-1].start()

    def _work(self) -> None:
        give_way()
        while (task := self._tasks.get()) is not None:
            task.report(*attempt(task.job, self._program))
            if task.ended:
                return
            del task  # nothing of a request outlives it in an idle thread


def attempt(job: Job, program: Program) -> tuple[Any, BaseException | None]:
    """Run a job; return its result, or what it raised instead."""
    try:
        return job(program), None
    except BaseException as error:  # noqa: BLE001 - engines raise anything; whoever waits for the job is told
        return None, error


def out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an engine ran out of memory; each has an exception of its own, so its words decide."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in ("out of memory", "can't allocate", "bad_alloc"))
