"""The system's view of a visit."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from strop.measure.clock import usable_cpus
from strop.measure.counters import Snapshot, difference, group_members, process_faults, process_state, snapshot

MS = 1_000_000


def shot(
    at: int, own: dict[int, int], foreign: dict[int, int], *, busy: int = 0, reaped: int = 0, steal: int = 0, faults: int = 0
) -> Snapshot:
    return Snapshot(at * MS, {p: t * MS for p, t in own.items()}, {p: t * MS for p, t in foreign.items()}, reaped * MS, busy * MS,
                    steal * MS, faults)  # fmt: skip


def test_time_is_told_apart_by_group() -> None:
    before = shot(0, {10: 5}, {20: 100, 21: 50})
    after = shot(60, {10: 105, 11: 7}, {20: 130, 22: 4}, faults=2, steal=10)
    counters = difference(before, after, cores=2, involuntary_switches=9)
    assert counters.wall_ns == 60 * MS
    assert counters.own_cpu_ns == 107 * MS  # a new process of the group counts from its birth
    assert counters.foreign_cpu_ns == 34 * MS
    assert (counters.steal_ns, counters.major_faults, counters.involuntary_switches) == (10 * MS, 2, 9)


def test_descendants_that_ended_count_as_own() -> None:
    assert difference(shot(0, {10: 5}, {}), shot(60, {10: 5}, {}, reaped=30), 2, 0).own_cpu_ns == 30 * MS


def test_hidden_work_counts_beyond_one_tick_per_core() -> None:
    before = shot(0, {10: 0}, {20: 0})
    assert difference(before, shot(60, {10: 50}, {20: 3}, busy=70), 2, 0).foreign_cpu_ns == 3 * MS
    assert difference(before, shot(60, {10: 50}, {20: 3}, busy=120), 2, 0).foreign_cpu_ns == 50 * MS


def test_counters_never_go_below_zero() -> None:
    counters = difference(shot(0, {}, {20: 9}, faults=5, steal=3), shot(60, {}, {}), 2, 0)
    assert (counters.foreign_cpu_ns, counters.major_faults, counters.steal_ns) == (0, 0, 0)


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[bytes]]:
    """A shell with a busy child, in a group of their own."""
    child = subprocess.Popen(["/bin/sh", "-c", "(while :; do :; done) & wait"], start_new_session=True)
    time.sleep(0.05)
    yield child
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_a_live_group_is_found_whole_and_its_work_is_its_own(burner: subprocess.Popen[bytes]) -> None:
    members = group_members(burner.pid)
    assert burner.pid in members
    assert len(members) == 2
    before = snapshot(burner.pid, usable_cpus())
    deadline = time.monotonic() + 10
    while (after := snapshot(burner.pid, usable_cpus())).at_ns and difference(before, after, 2, 0).own_cpu_ns < 30 * MS:
        assert time.monotonic() < deadline, "the busy child did not get a processor for 10 s"
    elsewhere = snapshot(os.getpgid(0), usable_cpus())
    assert set(members) <= set(elsewhere.foreign_ns)
    assert os.getpid() in elsewhere.own_ns


def test_states_and_faults_of_processes(burner: subprocess.Popen[bytes]) -> None:
    os.kill(burner.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, burner.pid, os.WSTOPPED)
    assert process_state(burner.pid) == "T"
    assert process_faults(burner.pid) >= 0
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    assert process_state(gone) == ""
    assert process_faults(gone) == 0
