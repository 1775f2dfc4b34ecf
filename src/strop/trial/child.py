"""A preparing process as its parent holds it: one group, bounded in memory and time, that outlives neither."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from strop.measure.process import Reaper
from strop.units import Bytes, Seconds


class Child:
    """Starts ``python -m strop.trial.prepare`` under one fixed environment.

    It ends when this process does, however this process ends: the kernel tells it, and a reaper ends what it had started.

    Args:
        task: file that tells it what to do.
        log: file that receives its output.
        memory: bytes of address space it may take, or ``None``.
    """

    def __init__(self, task: Path, log: Path, memory: Bytes | None) -> None:
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "strop.trial.prepare", str(task), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"},
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)) if memory else None,
            )
        self.pid = self._process.pid
        self._reaper: Reaper | None = None
        try:
            self._reaper = Reaper(self.pid)
        except BaseException:
            self.kill()
            raise

    def wait(self, left: Seconds) -> bool:
        """Wait for it, at most ``left`` seconds, and end what it started; return whether it ended in time."""
        limit = time.monotonic() + left
        while running := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= limit:
                break
            time.sleep(0.01)
        self.kill()
        return not running

    def kill(self) -> None:
        """End the whole group, whether or not its leader lives. May be called again."""
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)  # unreaped, it keeps its number from going to a stranger
            self._process.wait()
        if self._reaper is not None:
            self._reaper.retire()

    @property
    def end(self) -> str:
        """How it ended, in words; known after :meth:`wait`."""
        code = self._process.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
