"""The operating-system side of an arm: one process group that is started, stopped, continued and surely ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from strop.errors import MeasureError
from strop.measure.clock import uniform
from strop.measure.counters import group_members, process_state

_REAP = 'read -r word || kill -KILL "-$1"'
_LOG_LINES, _LOG_CHARACTERS = 20, 4000
_PADDING_BYTES = 4096


class Reaper:
    """A small shell that waits for its pipe to this process to break, and then kills a whole group with all descendants.

    Args:
        group: the process group to end when this process is gone, however it went.
    """

    def __init__(self, group: int) -> None:
        pipe_end, self._pipe = os.pipe()
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _REAP, "strop-reaper", str(group)], stdin=pipe_end, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(pipe_end)
        self.pid = self._shell.pid

    def retire(self) -> None:
        """Send the shell home: the group has ended, and its number may soon be a stranger's. May be called again."""
        if self._pipe >= 0:
            os.write(self._pipe, b"done\n")
            os.close(self._pipe)
            self._pipe = -1
            self._shell.wait()


class ArmProcess:
    """A worker in a session of its own, so that neither Ctrl-C nor a stop signal of a terminal reaches it.

    Two things end it when the parent is gone, however the parent went: the kernel's parent-death signal (set only when the
    main thread starts the arm, because it follows the thread), and a :class:`Reaper`.

    Args:
        environment: variables added to this process's own.
        memory_limit: bytes of address space, or ``None``.
        seed: decides the hash seed and the size of the environment; both shift memory layout, which is a source of bias
            that only fresh processes average out (Mytkowicz et al. 2009).
        log: file that receives the worker's standard output and error.
    """

    def __init__(self, environment: Mapping[str, str], memory_limit: int | None, seed: int, log: Path) -> None:
        self.log, self.stopped = log, False
        request_read, self.write_fd = os.pipe()
        self.read_fd, reply_write = os.pipe()
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        numbers = [request_read, reply_write, memory_limit or 0, parent]
        command = [sys.executable, "-m", "strop.measure.worker", *map(str, numbers)]
        process: subprocess.Popen[bytes] | None = None
        try:
            with log.open("ab") as stream:
                self.spawned_ns = time.monotonic_ns()
                process = subprocess.Popen(
                    command, env=_environment(environment, seed), start_new_session=True, close_fds=True,
                    pass_fds=(request_read, reply_write), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                )  # fmt: skip
            self._reaper = Reaper(process.pid)
        except BaseException as error:
            if process is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for fd in (self.read_fd, self.write_fd):
                os.close(fd)
            if isinstance(error, OSError):
                raise MeasureError(f"the process of an arm could not be started: {error}") from error
            raise
        finally:
            for fd in (request_read, reply_write):
                os.close(fd)
        self._process, self.pid = process, process.pid

    @property
    def alive(self) -> bool:
        """Whether the worker still runs (a stopped one does); does not reap it."""
        if self._process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def stop(self) -> None:
        """Stop every process of the group and return when all of them have stopped. May be called again."""
        if self.stopped or not self.alive:
            return
        os.killpg(self.pid, signal.SIGSTOP)
        # Answered only once every thread of the worker has stopped, or it has ended.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        limit = time.monotonic() + 1.0
        while any(process_state(pid) not in "TtZX" for pid in group_members(self.pid) if pid != self.pid):
            if time.monotonic() > limit:
                raise MeasureError(f"a process of group {self.pid} did not stop when told to; its arm cannot be parked.")
            time.sleep(0.0005)
        self.stopped = True

    def resume(self) -> None:
        """Let a stopped group go on. May be called again."""
        if self.stopped:
            os.killpg(self.pid, signal.SIGCONT)
            self.stopped = False

    def end(self, patience: float = 0.0) -> int:
        """Wait ``patience`` seconds for the worker to leave by itself, then kill its group, reap it and retire the reaper.

        Returns:
            The exit code; negative: the signal that ended it. May be called again.
        """
        limit = time.monotonic() + patience
        while patience and self.alive and time.monotonic() < limit:
            time.sleep(0.002)
        if self._process.returncode is None:
            # The unreaped worker keeps its number taken, so the signal cannot hit a stranger.
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._reaper.retire()
        return self._process.returncode

    def last_words(self) -> str:
        """Return the last lines of the log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_LOG_LINES:])[-_LOG_CHARACTERS:]


def describe_end(code: int) -> str:
    """Say in words how a process ended, from its exit code."""
    if code >= 0:
        return f"left with exit code {code}"
    name = signal.Signals(-code).name
    hints = {
        "SIGKILL": " (not sent from here; most often the kernel ran out of memory)",
        "SIGSEGV": " (segmentation fault)",
        "SIGABRT": " (aborted itself; native code does so when memory runs out)",
        "SIGILL": " (an instruction this processor does not have)",
        "SIGBUS": " (a mapped file or memory went away)",
    }
    return f"was ended by {name}{hints.get(name, '')}"


def _environment(extra: Mapping[str, str], seed: int) -> dict[str, str]:
    padding = "x" * int(uniform(seed, "padding") * _PADDING_BYTES)
    hash_seed = str(int(uniform(seed, "hash") * 2**32))
    return {**os.environ, "PYTHONHASHSEED": hash_seed, "STROP_PADDING": padding, **extra}
