"""A preparing process from its parent's side: bounded, and gone when the parent is gone, with all that it had started."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from strop.measure.counters import group_members, process_state
from strop.trial.child import Child

BUSY = """
import os, subprocess, threading
from pathlib import Path

child = subprocess.Popen(["/bin/sleep", "600"])
note = Path(__file__).with_name("pids.partial")
note.write_text(f"{os.getpid()} {child.pid}")
note.rename(note.with_name("pids"))
threading.Event().wait()
"""

PARENT = """
import sys, time
from pathlib import Path
from strop.trial.child import Child

child = Child(Path(sys.argv[1]), Path(sys.argv[2]), 0)
print(child.pid, child._reaper.pid, flush=True)
child.wait(600)
"""


def task(place: Any, text: str) -> Path:
    """The file of a task whose workload file does something when it is loaded."""
    told = {"reference": place.refer(text).to_json(), "materials": "none", "recipe": {}, "folder": str(place.folder), "seed": 0}
    path: Path = place.folder / "task.json"
    path.write_text(json.dumps({**told, "graphs": "none", "origin": {}}))
    return path


def wait_for(condition: Any, complaint: str) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, complaint
        time.sleep(0.01)


def gone(*pids: int) -> bool:
    return all(process_state(pid) in ("Z", "") for pid in pids)


@pytest.mark.parametrize("busy", [True, False], ids=["at work", "just started"])
def test_nothing_stays_behind_when_the_parent_is_killed(place: Any, busy: bool) -> None:
    command = [sys.executable, "-c", PARENT, str(task(place, BUSY)), str(place.folder / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        if busy:
            wait_for((place.folder / "pids").exists, "the workload was never loaded")
            pids += map(int, (place.folder / "pids").read_text().split())
        parent.send_signal(signal.SIGKILL)
        parent.wait(timeout=30)
    wait_for(lambda: gone(*pids, *group_members(pids[0])), "a process was left behind")
    assert (place.folder / "pids").exists() == busy


def test_a_hang_is_stopped_with_what_it_had_started_and_nobody_is_left_watching(place: Any) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    child = Child(task(place, BUSY), place.folder / "log", 0)
    assert child._reaper is not None
    wait_for((place.folder / "pids").exists, "the workload was never loaded")
    started = [int(word) for word in (place.folder / "pids").read_text().split()]
    assert not child.wait(0.0)
    child.kill()
    wait_for(lambda: gone(*started, child._reaper.pid), "a process was left behind")  # type: ignore[union-attr]
    assert child.end == "signal SIGKILL"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("act", "end"), [("os._exit(7)", "exit code 7"), ("os.abort()", "signal SIGABRT")])
def test_its_end_is_told_in_words(act: str, end: str, place: Any) -> None:
    child = Child(task(place, f"import os\n{act}\n"), place.folder / "log", 0)
    assert child.wait(120.0)
    assert child.end == end


def test_a_child_that_nobody_can_watch_is_not_left_running(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []

    def refuse(group: int) -> None:
        groups.append(group)
        raise OSError("no shell here")

    monkeypatch.setattr("strop.trial.child.Reaper", refuse)
    with pytest.raises(OSError, match="no shell here"):
        Child(task(place, BUSY), place.folder / "log", 0)
    assert process_state(groups[0]) == ""
