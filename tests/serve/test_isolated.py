"""Real processes that die, hang and do not come up: each is told, each comes back, and none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from strop.contract.engine import Program
from strop.errors import ArtefactError
from strop.observe import Event
from strop.serve.isolated import EngineError, ProcessWorkers, WorkerProcess
from strop.serve.workers import WorkerLostError
from tests.serve.doubler import POISON, plain_signature
from tests.serve.faulty import ASLEEP, FACTORY, KILLED, LEFT, SEGFAULT

Start = Callable[..., ProcessWorkers]


def rows(value: float, count: int = 2) -> np.ndarray:
    return np.full((count, 4), value, np.float32)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts workers and sees to it that their processes end."""
    started: list[ProcessWorkers] = []

    def run(count: int = 1, **arguments: Any) -> ProcessWorkers:
        started.append(ProcessWorkers(FACTORY, arguments, plain_signature(None, 4), count))
        return started[-1]

    yield run
    for workers in started:
        pids = workers.pids
        workers.close()
        assert not any(runs(pid) for pid in pids)


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/status").exists()


def until(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def asked(workers: ProcessWorkers, value: float, count: int = 2) -> tuple[Any, BaseException | None]:
    """Run one batch; return the answer or what was raised."""
    told: SimpleQueue[Any] = SimpleQueue()
    workers.submit(lambda program: program(rows(value, count)), lambda *both: told.put(both))
    answer, error = told.get(timeout=30)
    return answer, error


def test_it_answers_as_the_program_does_and_errors_come_through() -> None:
    process = WorkerProcess(FACTORY, {}, plain_signature(None, 4))
    try:
        (seed,) = process.open()
        assert (seed.rows, seed.width) == (1, 4)
        for value in (1.0, 2.0):
            (answer,) = process(rows(value))
            assert (answer.dtype, answer.tolist()) == (np.float32, [[2 * value] * 4] * 2)
        (large,) = process(rows(3.0, 100_000))
        assert (large.shape, float(large.max())) == ((100_000, 4), 6.0)
        assert answer.tolist() == [[4.0] * 4] * 2, "an answer is its receiver's own"
        with pytest.raises(EngineError, match="ValueError: planted"):
            process(rows(POISON))
        with pytest.raises(MemoryError, match="planted"):
            process(rows(888.0, 3))
        assert process(rows(1.0))[0].shape == (2, 4), "an error of the program ends nothing"
    finally:
        process.close()
    assert not runs(process.pid)


@pytest.mark.parametrize(
    ("value", "words"),
    [(KILLED, "was ended by SIGKILL"), (SEGFAULT, "was ended by SIGSEGV"), (LEFT, "left with exit code 3")],
)
def test_a_process_that_ends_in_a_batch_is_told_and_comes_back(start: Start, value: float, words: str) -> None:
    workers = start()
    told: list[Event] = []
    workers.watch(told.append)
    workers.wait()
    first = workers.pids
    answer, error = asked(workers, value)
    assert (answer, type(error), words in str(error)) == (None, WorkerLostError, True)
    assert until(lambda: workers.up == 1)
    assert workers.pids != first
    assert asked(workers, 1.0)[0][0].tolist() == [[2.0] * 4] * 2
    assert until(lambda: len(told) == 2)
    assert [event.name for event in told] == ["serve.worker_lost", "serve.worker_started"]
    assert (workers.restarts, workers.trouble) == (1, "")


def test_an_idle_process_that_is_killed_is_noticed_and_replaced(start: Start) -> None:
    workers = start(2)
    workers.wait()
    gone, stays = workers.pids
    os.kill(gone, signal.SIGKILL)
    assert until(lambda: workers.restarts == 1 and workers.up == 2)
    assert stays in workers.pids and gone not in workers.pids


def test_a_hang_is_ended_and_reported_as_a_lost_worker(start: Start) -> None:
    workers = start()
    workers.wait()
    told: SimpleQueue[Any] = SimpleQueue()
    task = workers.submit(lambda program: program(rows(ASLEEP)), lambda *both: told.put(both))
    assert until(lambda: task.program is not None)
    time.sleep(0.05)
    assert told.empty()
    assert workers.end(task)
    assert isinstance(told.get(timeout=5)[1], WorkerLostError)
    assert asked(workers, 1.0)[1] is None


def test_one_that_never_comes_up_is_tried_ever_more_rarely_and_says_why(start: Start, tmp_path: Path) -> None:
    workers = start(first=str(tmp_path / "first"))
    workers.wait()
    os.kill(workers.pids[0], signal.SIGKILL)
    assert until(lambda: workers.restarts >= 2)
    begun, restarts = time.monotonic(), workers.restarts
    assert (workers.up, "SIGKILL" in workers.trouble) == (0, True)
    assert until(lambda: workers.restarts >= restarts + 2)
    assert time.monotonic() - begun > 0.2, "it waits between its trials, and longer each time"


def test_what_cannot_be_opened_at_the_start_is_raised(start: Start) -> None:
    with pytest.raises(ArtefactError, match="artefact/x is damaged: planted"):
        start(damaged=True).wait()


def test_a_parent_that_is_killed_leaves_no_process() -> None:
    code = (
        "import sys, time\n"
        "from strop.serve.isolated import ProcessWorkers\n"
        "from tests.serve.doubler import plain_signature\n"
        "workers = ProcessWorkers('tests.serve.faulty:opened', {}, plain_signature(None, 4), 2)\n"
        "workers.wait()\n"
        "print(*workers.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    assert until(lambda: not any(map(runs, pids)), 5), "the kernel ends them with their parent"


def test_a_job_that_waits_for_no_program_is_still_a_job(start: Start) -> None:
    """A job that raises by itself is its own failure and ends no process."""
    workers = start()
    workers.wait()
    told: SimpleQueue[Any] = SimpleQueue()

    def job(program: Program) -> None:
        raise LookupError("mine")

    before = workers.pids
    workers.submit(job, lambda *both: told.put(both))
    assert isinstance(told.get(timeout=5)[1], LookupError)
    assert workers.pids == before
