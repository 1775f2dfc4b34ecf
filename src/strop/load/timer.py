"""Waking up at the right moment: event loops round their time-outs up to whole milliseconds, a timer descriptor does not."""

from __future__ import annotations

import asyncio
import ctypes
import os
from types import TracebackType

CLOCK_MONOTONIC, ABSOLUTE = 1, 1
SECOND = 1_000_000_000


class _Moment(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Moment), ("value", _Moment)]


class Timer:
    """Sleeps until a time of the clock that :data:`strop.measure.clock.monotonic_ns` reads.

    A context manager, used inside a running event loop; one sleeper at a time. Source: ``timerfd_create(2)`` of Linux.

    Raises:
        OSError: the system has no timer descriptors to give.
    """

    def __enter__(self) -> Timer:
        """Open the descriptor."""
        self._system = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._system.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._rang = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._ring)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the descriptor."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    async def until(self, when: int) -> None:
        """Sleep until the clock shows ``when`` nanoseconds; a time that has passed is no sleep."""
        self._rang.clear()
        setting = _Setting(_Moment(0, 0), _Moment(*divmod(max(1, when), SECOND)))
        self._checked(self._system.timerfd_settime(self._descriptor, ABSOLUTE, ctypes.byref(setting), None))
        await self._rang.wait()

    def _ring(self) -> None:
        os.read(self._descriptor, 8)
        self._rang.set()

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"a timer of the system cannot be used: {os.strerror(number)}")
        return result
