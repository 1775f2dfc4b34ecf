"""Jobs run beside each other, and whatever they raise is reported."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

from strop.contract.engine import Program
from strop.serve.workers import ThreadWorkers
from tests.serve.conftest import Doubler


def test_results_and_errors_of_any_kind_are_reported() -> None:
    workers, told = ThreadWorkers(Doubler(), 1), SimpleQueue[Any]()

    def leave(program: Program) -> None:
        raise SystemExit(3)

    workers.submit(lambda program: 42, lambda *both: told.put(both))
    workers.submit(leave, lambda *both: told.put(both))
    workers.submit(lambda program: "still here", lambda *both: told.put(both))
    assert told.get(timeout=5) == (42, None)
    assert isinstance(told.get(timeout=5)[1], SystemExit)
    assert told.get(timeout=5) == ("still here", None)
    workers.close()


def test_as_many_run_side_by_side_as_there_are_threads_and_all_end() -> None:
    workers, meeting, told = ThreadWorkers(Doubler(), 2), threading.Barrier(3, timeout=5), SimpleQueue[Any]()
    hanging = workers.submit(lambda program: meeting.wait(), lambda *both: told.put(both))
    assert not workers.end(hanging), "a thread cannot be ended, only replaced"
    for _ in range(2):
        workers.submit(lambda program: meeting.wait(), lambda *both: told.put(both))
    assert sorted(told.get(timeout=5)[0] for _ in range(3)) == [0, 1, 2]
    mine = [t for t in threading.enumerate() if t.name.startswith("strop-worker")]
    workers.close(5)
    assert not any(thread.is_alive() for thread in mine)


def test_closing_does_not_wait_for_ever_for_a_thread_that_hangs() -> None:
    workers, release, told = ThreadWorkers(Doubler(), 1), threading.Event(), SimpleQueue[Any]()
    workers.submit(lambda program: release.wait(30), lambda *both: told.put(both))
    workers.close(0.05)
    assert told.empty()
    release.set()
    assert told.get(timeout=5) == (True, None)
