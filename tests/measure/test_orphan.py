"""A process that is told whom it works for ends when that one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from strop.measure.counters import process_state

CHILD = "import sys, time; from strop.measure.orphan import die_with; die_with(int(sys.argv[1])); print('watched', flush=True)"
PARENT = f"""
import os, subprocess, sys, time
command = [sys.executable, "-c", {CHILD!r} + "; time.sleep(600)", str(os.getpid())]
child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
print(child.stdout.readline().strip(), child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent_however_that_ends(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        word, child = parent.stdout.readline().split()
        assert (word, process_state(int(child)) in "RSD") == ("watched", True)
        parent.send_signal(how)
        parent.wait(timeout=30)
    limit = time.monotonic() + 20
    while process_state(int(child)) not in ("Z", ""):
        assert time.monotonic() < limit, "it outlived its parent"
        time.sleep(0.01)


def run_child(parent: int) -> tuple[int, str]:
    command = [sys.executable, "-c", CHILD, str(parent)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_it_does_not_begin_when_its_parent_is_already_another() -> None:
    assert run_child(os.getppid()) == (1, "")


def test_it_goes_on_while_its_parent_lives() -> None:
    assert run_child(os.getpid()) == (0, "watched\n")
