"""Workers in processes of their own: what kills one kills neither the server nor its neighbours.

Each has a thread here that starts its process, hands it batches, and starts it anew when it has ended. The thread lives as
long as the workers do, because the kernel ends a process with the thread that started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Any

from strop.contract.engine import Program
from strop.contract.signature import Signature
from strop.engines.calls import CallReader
from strop.errors import ArtefactError, StropError
from strop.measure.process import describe_end
from strop.measure.wire import Channel, DeadlinePassed, PeerGone
from strop.observe import Event, Level, Observer, silent
from strop.serve.arena import Arena
from strop.serve.call import Array
from strop.serve.latency import Seed
from strop.serve.workers import Job, Report, Task, WorkerLostError, Workers, attempt
from strop.units import Seconds, show_seconds

OPENING: Seconds = 120.0
"""Time to open a program; a process that takes longer is ended."""
LOOK: Seconds = 0.05
"""How soon it is noticed that an idle worker has ended."""
SHORTEST: Seconds = 0.1
LONGEST: Seconds = 10.0
"""Waits before a worker that ended without having answered anything is started anew: doubled each time, up to the longest."""


class EngineError(StropError):
    """A program raised in its process; the message begins with the name of what it raised."""


class WorkerProcess(Program):
    """A program in a process of its own, called from one thread.

    Args:
        factory: ``module:function`` that returns an :class:`~strop.serve.opened.Opened`.
        arguments: of the function; JSON-able.
        signature: of the program.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], signature: Signature) -> None:
        self._task = {"factory": factory, "arguments": dict(arguments)}
        self._reader = CallReader(signature)
        self._inputs, self._answers = Arena(), Arena()
        request_read, write_fd = os.pipe()
        read_fd, reply_write = os.pipe()
        theirs = (request_read, reply_write, self._inputs.fd, self._answers.fd)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "strop.serve.worker", *map(str, (*theirs, os.getpid()))],
                pass_fds=theirs, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            for fd in (write_fd, read_fd, self._inputs.fd, self._answers.fd):
                os.close(fd)
            raise
        finally:
            os.close(request_read)
            os.close(reply_write)
        self.pid = self._process.pid
        self._channel = Channel(read_fd, write_fd, lambda: self.alive)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def open(self, patience: Seconds = OPENING) -> tuple[Seed, ...]:
        """Let the process open its program, and return the times to begin with.

        Raises:
            ArtefactError: it cannot be opened; the message is that of the process.
            WorkerLostError: the process ended, or did not open it in time and was ended.
        """
        reply = self._exchange(self._task, time.monotonic() + patience)
        if "error" in reply:
            raise ArtefactError(reply["message"])
        return tuple(Seed(**row) for row in reply["seeds"])

    def __call__(self, *args: Any, **kwargs: Any) -> list[Array]:
        """Answer one call by the leaves of the answer.

        Raises:
            WorkerLostError: the process ended before it answered.
            MemoryError: there as here.
            EngineError: whatever else the program raised.
        """
        places = self._inputs.write(self._reader.leaves(args, kwargs))
        reply = self._exchange(places, float("inf"))
        if "error" in reply:
            if reply["error"] == "MemoryError":
                raise MemoryError(reply["message"])
            raise EngineError(f"{reply['error']}: {reply['message']}")
        return [array.copy() for array in self._answers.read(reply["places"])]

    def kill(self) -> None:
        """End the process at once; may be called from any thread."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end, or end it. Belongs to the calling thread."""
        self._channel.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._inputs.close()
        self._answers.close()

    def _exchange(self, message: object, deadline: float) -> Any:
        try:
            self._channel.send(message, deadline)
            return self._channel.receive(deadline)
        except DeadlinePassed as error:
            self.kill()
            raise WorkerLostError("a worker took too long to open its program and was ended.") from error
        except PeerGone as error:
            raise WorkerLostError(f"a worker {describe_end(self._process.wait())}.") from error


class ProcessWorkers(Workers):
    """Processes that run batches; one that ends is started anew, after a while that grows if it never gets anywhere.

    Args:
        factory: ``module:function`` that opens the program in each of them.
        arguments: of the function; JSON-able.
        signature: of the program.
        count: processes.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], signature: Signature, count: int) -> None:
        self.count = count
        self.seeds: tuple[Seed, ...] = ()
        self.trouble = ""
        self._factory, self._arguments, self._signature = factory, arguments, signature
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._running: set[WorkerProcess] = set()
        self._up: set[WorkerProcess] = set()
        self._refused: BaseException | None = None
        self._observer: Observer = silent
        self._threads = [threading.Thread(target=self._work, name=f"strop-isolated-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> tuple[Seed, ...]:
        """Wait until every process has opened its program once; return the times to begin with.

        Raises:
            StropError: one of them could not; all are closed then.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._refused is not None or len(self._up) == self.count)
        if self._refused is not None:
            self.close()
            raise self._refused
        return self.seeds

    @property
    def up(self) -> int:
        """Processes whose program is open."""
        return len(self._up)

    @property
    def pids(self) -> tuple[int, ...]:
        """Their numbers."""
        return tuple(sorted(worker.pid for worker in self._up))

    def watch(self, observer: Observer) -> None:
        """Tell ``observer``, in the thread of a worker, when it is lost and when it is back."""
        self._observer = observer

    def submit(self, job: Job, report: Report) -> Task:
        """Run ``job`` in the next process that is free."""
        task = Task(job, report)
        self._tasks.put(task)
        return task

    def end(self, task: Task) -> bool:
        """End the process that a job hangs in."""
        task.ended = True
        if isinstance(task.program, WorkerProcess):
            task.program.kill()
        return True

    def close(self, seconds: Seconds = 1.0) -> None:
        """Let all processes end after what was submitted before, and kill those that have not after so long."""
        self._closing.set()
        for _ in self._threads:
            self._tasks.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._changed:
            for worker in self._running:
                worker.kill()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        fruitless, again = 0, False
        while not self._closing.is_set():
            worker = self._start(again)
            answered = worker is not None and self._serve(worker)
            fruitless = 0 if answered else fruitless + 1
            if self._closing.is_set():
                return
            self.restarts, again = self.restarts + 1, True
            self._closing.wait(min(LONGEST, SHORTEST * 2 ** max(fruitless - 1, 0)))

    def _start(self, again: bool) -> WorkerProcess | None:
        worker = None
        try:
            worker = WorkerProcess(self._factory, self._arguments, self._signature)
            with self._changed:
                self._running.add(worker)
            began = time.monotonic()
            seeds = worker.open()
        except (StropError, OSError) as error:
            self._lose(worker, error)
            return None
        with self._changed:
            self.seeds = self.seeds or seeds
            self._up.add(worker)
            self.trouble = ""
            self._changed.notify_all()
        if again:
            text = f"a worker is back after {show_seconds(time.monotonic() - began)}"
            self._observer(Event("serve.worker_started", text, Level.DETAIL, {"up": self.up}))
        return worker

    def _serve(self, worker: WorkerProcess) -> bool:
        """Run jobs until the process ends or is to end; tell whether it answered any."""
        answered = False
        while True:
            try:
                task = self._tasks.get(timeout=LOOK)
            except Empty:
                if worker.alive:
                    continue
                self._lose(worker, WorkerLostError("an idle worker has ended."))
                return answered
            if task is None:
                self._leave(worker)
                return answered
            task.program = worker
            if task.ended:  # given up while it waited for a process
                task.report(None, WorkerLostError("no worker was free."))
                continue
            answer, error = attempt(task.job, worker)
            lost = isinstance(error, WorkerLostError)
            if lost:
                self._lose(worker, error)  # before its batch is reported: who looks then must see it gone
            task.report(answer, error)
            if lost:
                return answered
            answered = True
            del task, answer, error  # nothing of a request outlives it in an idle thread

    def _lose(self, worker: WorkerProcess | None, error: BaseException | None) -> None:
        self._leave(worker)
        with self._changed:
            self.trouble = str(error)
            self._refused = self._refused or error
            self._changed.notify_all()
        if not self._closing.is_set():
            self._observer(Event("serve.worker_lost", str(error), Level.WARNING, {"up": self.up}))

    def _leave(self, worker: WorkerProcess | None) -> None:
        if worker is None:
            return
        with self._changed:
            self._up.discard(worker)
        worker.close()
        with self._changed:
            self._running.discard(worker)
