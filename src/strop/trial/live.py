"""Live objects (a notebook's model) for trial processes: handed over through a private socket, never stored.

The receiving process is one that strop started itself, the socket lies in a folder only this user can enter, and the
bytes exist in memory only; that is what makes serialising by value acceptable here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import socket
import struct
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cloudpickle

from strop.errors import WorkloadError


class LiveObject:
    """Serve one object to this run's own trial processes while the context is open.

    Args:
        value: the object; classes and functions defined in a notebook travel by value.

    Raises:
        WorkloadError: the object cannot be serialised.
    """

    def __init__(self, value: object) -> None:
        try:
            self._payload = cloudpickle.dumps(value)
        except Exception as error:
            raise WorkloadError(
                f"this live workload cannot be handed to another process ({error}); put it in a file and pass the file."
            ) from error
        self.digest = hashlib.sha256(self._payload).hexdigest()
        self._folder = tempfile.TemporaryDirectory(prefix="strop-")
        self.address = str(Path(self._folder.name) / "live")
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        try:
            self._socket.bind(self.address)
        except OSError as error:
            self._socket.close()
            self._folder.cleanup()
            where = tempfile.gettempdir()
            raise WorkloadError(
                f"the temporary folder {where} cannot hold a private pipe ({error}). Set TMPDIR to a shorter path."
            ) from error
        self._socket.listen()
        threading.Thread(target=self._serve, name="strop-live", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread, and the object with it, waiting
        self._socket.close()
        self._folder.cleanup()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed by __exit__
                return
            with connection, contextlib.suppress(OSError):  # a receiver that was killed must not end the service for the others
                connection.sendall(struct.pack("!Q", len(self._payload)) + self._payload)


def fetch(address: str) -> Any:
    """Receive the object served at ``address`` by the process that started this one.

    Raises:
        WorkloadError: nothing is served there.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            (size,) = struct.unpack("!Q", _receive(connection, 8))
            return pickle.loads(_receive(connection, size))  # noqa: S301 - see the module docstring
    except OSError as error:
        raise WorkloadError(
            "this run used a live object of a process that has ended; only file references can be replayed."
        ) from error


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(min(1 << 20, size - len(data)))
        if not chunk:
            raise OSError("the sender closed early")
        data += chunk
    return bytes(data)
