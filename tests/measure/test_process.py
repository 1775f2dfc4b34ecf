"""Process groups: started apart, stopped whole, ended for certain, whatever happens to the parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from strop.errors import MeasureError
from strop.measure.counters import group_members, process_state
from strop.measure.process import ArmProcess, describe_end

PARENT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from strop.measure.arm import Arm, ArmSpec
    spec = ArmSpec(name="baseline", target="strop.testing.tiny:tiny", arguments={"plant": sys.argv[2], "after": 1})
    arm = Arm.start(spec, seed=1, log=Path(sys.argv[1]))
    arm.load()
    if sys.argv[3] == "parked":
        arm.block("tiny", [0])
        arm.park()
    print(arm.pid, flush=True)
    if sys.argv[3] == "asking":
        arm.block("tiny", [0])
    time.sleep(600)
    """
)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, what
        time.sleep(0.005)


def nobody_left(group: int) -> bool:
    """No member but zombies, which are init's to reap once the parent is gone."""
    return all(process_state(pid) in ("Z", "") for pid in group_members(group))


def start(tmp_path: Path, **more: object) -> ArmProcess:
    settings: dict[str, object] = {"environment": {}, "memory_limit": None, "seed": 1, "log": tmp_path / "arm.log", **more}
    return ArmProcess(**settings)  # type: ignore[arg-type]


def close_pipes(process: ArmProcess) -> None:
    for fd in (process.read_fd, process.write_fd):
        os.close(fd)


def variables(pid: int) -> dict[str, str]:
    rows = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(row.split("=", 1) for row in rows if "=" in row)


@pytest.fixture
def started(tmp_path: Path):  # type: ignore[no-untyped-def]
    process = start(tmp_path)
    yield process
    process.end()
    close_pipes(process)


def test_an_arm_lives_in_a_session_of_its_own(started: ArmProcess) -> None:
    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    assert os.getpgid(started.pid) == started.pid


def test_stopping_stops_every_member_and_waits_for_it(started: ArmProcess) -> None:
    started.stop()
    assert process_state(started.pid) == "T"
    assert started.stopped
    assert started.alive
    started.stop()
    started.resume()
    started.resume()
    wait_until(lambda: process_state(started.pid) != "T", "the process did not go on")


def test_ending_leaves_neither_process_nor_zombie_nor_reaper(started: ArmProcess) -> None:
    reaper = started._reaper.pid
    started.stop()
    assert started.end() == -signal.SIGKILL
    assert started.end() == -signal.SIGKILL
    assert process_state(started.pid) == "" == process_state(reaper)
    assert not started.alive


def test_every_seed_gives_another_memory_layout_and_the_same_seed_the_same(tmp_path: Path) -> None:
    seen = []
    for seed in (1, 1, 2):
        process = start(tmp_path, seed=seed, environment={"OMP_NUM_THREADS": "1"})
        wait_until(lambda pid=process.pid: b"strop.measure.worker" in Path(f"/proc/{pid}/cmdline").read_bytes(), "no exec")  # type: ignore[misc]
        told = variables(process.pid)
        seen.append((told["PYTHONHASHSEED"], len(told["STROP_PADDING"])))
        assert told["OMP_NUM_THREADS"] == "1"
        assert told["PATH"] == os.environ["PATH"]
        process.end()
        close_pipes(process)
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert seen[0][1] != seen[2][1]


def test_descriptors_are_not_leaked(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    process = start(tmp_path)
    process.end()
    close_pipes(process)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_process_that_cannot_be_started_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    real, started = subprocess.Popen, []

    def refuse_the_reaper(command: list[str], **more: object) -> object:
        if command[0] == "/bin/sh":
            raise FileNotFoundError("no shell here")
        started.append(real(command, **more))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr("strop.measure.process.subprocess.Popen", refuse_the_reaper)
    with pytest.raises(MeasureError, match="could not be started: no shell here"):
        start(tmp_path)
    assert process_state(started[0].pid) == ""
    monkeypatch.undo()
    monkeypatch.setattr("strop.measure.process.sys.executable", "/no/such/python")
    with pytest.raises(MeasureError, match="no/such/python"):
        start(tmp_path)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_ends_are_described_in_words() -> None:
    assert describe_end(3) == "left with exit code 3"
    assert "SIGSEGV (segmentation fault)" in describe_end(-signal.SIGSEGV)
    assert "out of memory" in describe_end(-signal.SIGKILL)
    assert describe_end(-signal.SIGTERM) == "was ended by SIGTERM"


def test_the_last_lines_of_a_long_log_are_returned(started: ArmProcess) -> None:
    started.log.write_text("\n".join(f"line {n}" for n in range(500)), encoding="utf-8")
    words = started.last_words()
    assert words.endswith("line 499")
    assert "line 479" not in words
    started.log.write_text("x" * 100_000, encoding="utf-8")
    assert len(started.last_words()) == 4000


@pytest.mark.parametrize(
    ("plant", "state", "how"),
    [
        ("hang", "asking", signal.SIGINT),
        ("", "parked", signal.SIGINT),
        ("hang", "asking", signal.SIGKILL),
        ("child", "parked", signal.SIGKILL),
    ],
)
def test_nothing_stays_behind_when_the_parent_goes(tmp_path: Path, plant: str, state: str, how: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "arm.log"), plant, state]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    if plant == "child":
        assert len(group_members(group)) == 2
    if state == "parked":
        assert {process_state(pid) for pid in group_members(group)} == {"T"}
    os.killpg(parent.pid, how)  # as the terminal does: to the whole foreground group
    parent.wait(timeout=30)
    parent.stdout.close()
    wait_until(lambda: nobody_left(group), f"group {group} is still there")
