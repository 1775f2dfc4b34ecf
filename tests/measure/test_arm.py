"""The parent's handle, with real workers: requests, parking, memory, and every way of ending."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from strop.errors import TargetError, WorkerDiedError, WorkerTimeoutError
from strop.measure.arm import Arm, ArmSpec
from strop.measure.clock import processor_ns
from strop.measure.collect import block_plan, profile, take_pair
from strop.measure.counters import group_members, process_state
from strop.measure.timing import WarmRule

TINY = "strop.testing.tiny:tiny"
MIB = 1 << 20
QUICK = WarmRule(min_seconds=0.0, tolerance=0.5, max_seconds=2.0)


def spec(name: str = "baseline", **arguments: object) -> ArmSpec:
    return ArmSpec(name=name, target=TINY, arguments=arguments, environment={"OPENBLAS_NUM_THREADS": "1"})


def start(tmp_path: Path, arm: ArmSpec, seed: int = 1) -> Arm:
    return Arm.start(arm, seed=seed, log=tmp_path / f"{arm.name}.log")


def loaded(tmp_path: Path, **arguments: object) -> Arm:
    arm = start(tmp_path, spec(**arguments))
    arm.load()
    return arm


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm]:
    with start(tmp_path_factory.mktemp("arm"), spec(points={"small": 8, "large": 4})) as built:
        yield built


def test_a_start_is_marked_and_warmed_and_asked(arm: Arm) -> None:
    marks = arm.load()
    order = [marks[name] for name in ("interpreter_up", "imported", "loaded", "first_output")]
    assert order == sorted(order)
    assert order[0] > 0
    assert arm.points == {"small": 8, "large": 4}
    assert arm.offers == {"answer_digest", "run_variant"}
    reports = arm.warm(rule=QUICK)
    assert set(reports) == {"small", "large"}
    assert set(arm.warm(("large",), rule=QUICK)) == {"large"}
    assert all(report.call_seconds > 0 for report in reports.values())
    block = arm.block("small", [0, 1, 2, 3], 1)
    assert (block.arm, block.point, len(block.calls_ns)) == ("baseline", "small", 3)
    assert block.counters.wall_ns > sum(block.calls_ns)
    assert block.counters.own_cpu_ns > 0.5 * min(block.calls_ns)
    assert arm.digest("small", 0) != arm.digest("small", 1)
    assert arm.shapes("large", 1) == [[128, 64]]
    assert len(arm.variants("small", 0, [1, 2])) == 2
    arm.block("small", [3])
    assert arm.answer_digest() == arm.digest("small", 3)
    assert arm.call("echo", {"text": "ü"}, 30.0)["arguments"] == {"text": "ü"}
    assert arm.stats()["cpu_seconds"] > 0


def test_a_request_to_a_parked_arm_lets_it_run_for_that_request_only(arm: Arm) -> None:
    arm.park()
    assert arm.call("echo", {}) is not None
    assert arm.parked
    assert process_state(arm.pid) == "T"
    with arm.turn():
        assert process_state(arm.pid) != "T"
        arm.block("small", [0])
        assert not arm.parked
    assert process_state(arm.pid) == "T"
    arm.resume()
    arm.block("small", [0])
    assert not arm.parked


def test_an_error_of_the_target_is_told_and_the_arm_lives_on(arm: Arm) -> None:
    with pytest.raises(TargetError, match="arm 'baseline', digest: KeyError: 'nowhere'") as caught:
        arm.digest("nowhere", 0)
    assert caught.value.kind == "KeyError"
    assert "tiny.py" in caught.value.trace
    assert arm.digest("small", 0)


def test_a_parked_spinner_burns_nothing(tmp_path: Path) -> None:
    with loaded(tmp_path, plant="spinner") as spinner:
        limit = time.monotonic() + 20
        start_ns = processor_ns(spinner.pid)
        while processor_ns(spinner.pid) - start_ns < 20_000_000:
            assert time.monotonic() < limit, "the spinner does not spin"
            time.sleep(0.005)
        spinner.park()
        before = processor_ns(spinner.pid)
        time.sleep(0.15)
        assert processor_ns(spinner.pid) == before
        spinner.resume()
        while processor_ns(spinner.pid) == before:
            assert time.monotonic() < limit, "the spinner does not go on"
            time.sleep(0.005)


def test_descendants_are_parked_and_ended_too(tmp_path: Path) -> None:
    with loaded(tmp_path, plant="child", after=1) as parent:
        parent.block("tiny", [0])
        members = group_members(parent.pid)
        assert len(members) == 2
        parent.park()
        assert {process_state(pid) for pid in members} == {"T"}
    wait_gone(parent.pid)


def wait_gone(group: int) -> None:
    limit = time.monotonic() + 20
    while any(process_state(pid) not in ("Z", "") for pid in group_members(group)):
        assert time.monotonic() < limit, "a process was left behind"
        time.sleep(0.005)
    assert process_state(group) == "", "the worker was not reaped"


def test_planted_memory_is_found_in_the_peak_and_reset(tmp_path: Path) -> None:
    with loaded(tmp_path, plant="memory", plant_bytes=64 * MIB, after=10) as hungry:
        for _ in range(9):
            hungry.block("tiny", [0])
        before = hungry.peak_memory()
        hungry.block("tiny", [0])
        after = hungry.peak_memory()
        assert abs(after.peak - before.peak - 64 * MIB) < 3 * MIB
        assert after.resident - before.resident < 3 * MIB
        hungry.reset_peak()
        assert hungry.peak_memory().peak - before.resident < 3 * MIB
        assert after.anonymous + after.file + after.shared == pytest.approx(after.resident, abs=MIB)


def test_a_large_parent_does_not_count_for_the_child(tmp_path: Path) -> None:
    ballast = np.ones(1 << 30, dtype=np.uint8)
    assert int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 1 << 30
    with loaded(tmp_path) as child:
        assert child.peak_memory().peak < 200 * MIB
    assert ballast[0] == 1


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        ("segfault", r"was ended by SIGSEGV \(segmentation fault\) during 'block'"),
        ("kill", r"was ended by SIGKILL \(.*out of memory\) during 'block'"),
        ("leave", "left with exit code 3 during 'block'"),
    ],
)
def test_a_death_is_told_with_its_signal_and_leaves_nothing(tmp_path: Path, plant: str, message: str) -> None:
    with loaded(tmp_path, plant=plant, after=1) as dying:
        with pytest.raises(WorkerDiedError, match=message) as caught:
            dying.block("tiny", [0])
        if plant == "segfault":
            assert "about to read a bad address" in str(caught.value)
            assert "_misbehave" in str(caught.value), "the stack of the crash is in the log's last lines"
        assert process_state(dying.pid) == ""
        with pytest.raises(WorkerDiedError, match="start a new one"):
            dying.digest("tiny", 0)
        with pytest.raises(WorkerDiedError, match="memory"):
            dying.peak_memory()


def test_a_death_while_parked_is_told_at_the_next_request(tmp_path: Path) -> None:
    with loaded(tmp_path) as victim:
        victim.park()
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            victim.block("tiny", [0])


def test_a_hang_runs_into_its_time_limit_and_is_killed(tmp_path: Path) -> None:
    with loaded(tmp_path, plant="hang", after=1) as stuck:
        begin = time.monotonic()
        with pytest.raises(WorkerTimeoutError, match=r"did not answer within 0\.2 s during 'block'"):
            stuck.block("tiny", [0], timeout=0.2)
        assert time.monotonic() - begin < 10
        assert process_state(stuck.pid) == ""


def test_allocating_without_end_meets_the_limit_and_is_an_error_of_the_target(tmp_path: Path) -> None:
    arguments = {"plant": "hog", "after": 1}
    limited = ArmSpec(name="baseline", target=TINY, arguments=arguments, memory_limit=2 << 30)
    with Arm.start(limited, seed=1, log=tmp_path / "arm.log") as hog:
        hog.load()
        with pytest.raises(TargetError) as caught:
            hog.block("tiny", [0])
        assert "MemoryError" in caught.value.kind
        assert hog.peak_memory().peak < 2 << 30


def test_an_unknown_target_is_an_error_with_its_name(tmp_path: Path) -> None:
    lost = start(tmp_path, ArmSpec(name="candidate", target="strop.no_such:thing"))
    with lost, pytest.raises(TargetError, match=r"strop\.no_such"):
        lost.load()


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from strop.measure.arm import Arm, ArmSpec
from strop.measure.counters import process_state

spec = ArmSpec(name="baseline", target="strop.testing.tiny:tiny", arguments={"plant": "hang", "after": 1})
with Arm.start(spec, seed=1, log=Path(sys.argv[1])) as stuck:
    stuck.load()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        stuck.block("tiny", [0])
    except KeyboardInterrupt:
        print("interrupted", repr(process_state(stuck.pid)))
"""


def test_an_interrupted_request_ends_the_arm(tmp_path: Path) -> None:
    """In a process of its own: back ends that other tests load take over this one's signal stack."""
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "arm.log")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "interrupted ''\n"


def test_an_error_in_the_with_statement_ends_the_arm(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), loaded(tmp_path) as open_arm:
        open_arm.park()
        raise ZeroDivisionError
    assert process_state(open_arm.pid) == ""
    open_arm.close()


def test_a_closed_arm_left_in_peace(tmp_path: Path) -> None:
    closed = loaded(tmp_path)
    closed.park()
    closed.close()
    closed.close()
    assert process_state(closed.pid) == ""
    with pytest.raises(WorkerDiedError, match="was closed"):
        closed.stats()


def test_an_arm_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Arm] = []
    done = threading.Event()

    def work() -> None:
        started.append(loaded(tmp_path))
        done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    while not started or not started[0].points:
        time.sleep(0.005)
    done.set()
    thread.join()
    time.sleep(0.1)
    with started[0] as survivor:
        assert survivor.digest("tiny", 0)


def test_live_pairs_at_several_points(tmp_path: Path) -> None:
    points = {"small": 6, "large": 3}
    specs = [spec(name, points=points, units=4) for name in ("baseline", "candidate")]
    with start(tmp_path, specs[0]) as one, start(tmp_path, specs[1], seed=2) as two:
        for each in (one, two):
            each.load()
            each.warm(rule=QUICK)
        plan = block_plan(profile(one, rival=two), profile(two, rival=one), block_seconds=0.003)
        taken = [take_pair(one, two, plan, seed=5, comparison="live", index=n, pause=0.0) for n in range(6)]
        for pair in taken:
            assert {(b.arm, b.point) for b in pair.blocks} == {(a, p) for a in ("baseline", "candidate") for p in points}
            assert all(len(b.calls_ns) == plan.points[b.point].timed for b in pair.blocks)
        assert one.parked
        assert two.parked
        assert {process_state(one.pid), process_state(two.pid)} == {"T"}


def test_only_one_arm_can_run_during_a_pair(tmp_path: Path) -> None:
    """Two spinners: while one has its visit, the other's processor time stands still."""
    specs = [spec(name, plant="spinner", units=4) for name in ("baseline", "candidate")]
    with start(tmp_path, specs[0]) as one, start(tmp_path, specs[1], seed=2) as two:
        for each in (one, two):
            each.load()
            each.park()
        for mover, still in ((one, two), (two, one)):
            before, own = processor_ns(still.pid), processor_ns(mover.pid)
            mover.block("tiny", [0] * 30)
            assert processor_ns(still.pid) == before
            assert processor_ns(mover.pid) > own
