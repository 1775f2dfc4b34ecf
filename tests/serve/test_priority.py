"""What computes gives way to what answers, and nothing else does."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strop.contract.engine import Program
from strop.serve.app import App
from strop.serve.priority import ALONE, NICER, SWITCH, give_way, giving_way
from strop.serve.workers import ThreadWorkers
from tests.serve.conftest import Doubler

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives threads a niceness of their own")


def niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def kept_alive() -> tuple[threading.Thread, Callable[[], None]]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, daemon=True)
    thread.start()

    def finish() -> None:
        end.set()
        thread.join()

    return thread, finish


@linux
def test_threads_that_start_inside_give_way_and_others_do_not() -> None:
    own = niceness(threading.get_native_id())
    before, end_before = kept_alive()
    with giving_way():
        inside, end_inside = kept_alive()
    after, end_after = kept_alive()
    try:
        found = [niceness(thread.native_id or 0) - own for thread in (before, inside, after)]
        assert found == [0, NICER, 0] and niceness(threading.get_native_id()) == own
    finally:
        for end in (end_before, end_inside, end_after):
            end()


@linux
def test_a_thread_that_has_ended_is_left_alone() -> None:
    thread, end = kept_alive()
    number = thread.native_id
    end()
    give_way(number)
    assert not Path(f"/proc/self/task/{number}").exists()


@linux
def test_the_threads_that_run_batches_give_way() -> None:
    own, found = niceness(threading.get_native_id()), list[int]()
    done = threading.Event()

    def job(program: Program) -> None:
        found.append(niceness(threading.get_native_id()))

    workers = ThreadWorkers(Doubler(), 1)
    workers.submit(job, lambda answers, error: done.set())
    assert done.wait(10) and found == [own + NICER]
    workers.close()


def test_pythons_lock_passes_quickly_while_several_requests_are_open(within: Callable[..., Any]) -> None:
    async def act(app: App, program: Doubler) -> list[float]:
        seen = []
        for change in (app.enter, app.enter, app.enter, app.leave, app.leave, app.leave):
            change(100)
            seen.append(sys.getswitchinterval())
        assert (app.open, app.held) == (0, 0)
        return seen

    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(ALONE)
        assert within(act) == pytest.approx([ALONE, SWITCH, SWITCH, SWITCH, ALONE, ALONE])
    finally:
        sys.setswitchinterval(before)
