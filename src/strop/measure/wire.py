"""Length-prefixed JSON over a pair of pipes: the only thing an arm and its parent say to each other."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct("<Q")
_CHUNK = 1 << 20
_LOOK_SECONDS = 0.1


def send_frame(fd: int, payload: bytes) -> None:
    """Write one frame, blocking."""
    view = memoryview(HEADER.pack(len(payload)) + payload)
    while view:
        view = view[os.write(fd, view[:_CHUNK]) :]


def receive_frame(fd: int) -> bytes | None:
    """Read one frame, blocking; ``None`` when the other side has closed the pipe."""
    head = _read_exactly(fd, HEADER.size)
    return None if head is None else _read_exactly(fd, HEADER.unpack(head)[0])


def _read_exactly(fd: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(fd, min(_CHUNK, size - len(data)))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


class PeerGone(Exception):
    """The other side ended before the exchange was complete."""


class DeadlinePassed(Exception):
    """The other side did not take part in the exchange in time."""


class Channel:
    """The parent's end: frames with a deadline, so that a stuck or dead worker cannot hang the parent.

    Args:
        read_fd: where replies arrive.
        write_fd: where requests go; made non-blocking.
        alive: tells whether the other side still runs; needed because a descendant of the worker may keep the pipe open.
    """

    def __init__(self, read_fd: int, write_fd: int, alive: Callable[[], bool]) -> None:
        self._read_fd, self._write_fd, self._alive = read_fd, write_fd, alive
        os.set_blocking(write_fd, False)

    def send(self, message: object, deadline: float) -> None:
        """Send ``message`` as JSON.

        Args:
            message: a JSON-able object.
            deadline: in seconds of ``time.monotonic()``.

        Raises:
            PeerGone: the worker ended.
            DeadlinePassed: the worker did not read in time.
        """
        frame = json.dumps(message).encode()
        view = memoryview(HEADER.pack(len(frame)) + frame)
        while view:
            self._wait(select.POLLOUT, deadline)
            try:
                view = view[os.write(self._write_fd, view[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise PeerGone from error

    def receive(self, deadline: float) -> Any:
        """Return the next JSON message; raises like :meth:`send`."""
        size = HEADER.unpack(self._read(HEADER.size, deadline))[0]
        return json.loads(self._read(size, deadline))

    def close(self) -> None:
        """Close both pipes; may be called again."""
        for fd in (self._read_fd, self._write_fd):
            if fd >= 0:
                os.close(fd)
        self._read_fd = self._write_fd = -1

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(select.POLLIN, deadline)
            chunk = os.read(self._read_fd, min(_CHUNK, size - len(data)))
            if not chunk:
                raise PeerGone
            data += chunk
        return bytes(data)

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._read_fd if event == select.POLLIN else self._write_fd, event)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlinePassed
            if poll.poll(1000 * min(left, _LOOK_SECONDS)):
                return
            if not self._alive() and not poll.poll(0):
                raise PeerGone
