"""Arrays in memory that two processes share. The memory has no name: only who was handed its descriptor can reach it."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from strop.errors import StropError
from strop.serve.call import Array

ALIGN = 64
"""Bytes that every array begins at a multiple of: a cache line, and what vector instructions like best."""
SMALLEST = 1 << 16

Place = list[Any]
"""Where an array lies: numpy's text for its dtype, its shape, its first byte; JSON-able."""


class ArenaError(StropError):
    """A place was told that lies outside of the memory."""


class Arena:
    """Shared memory that one side writes arrays into and the other reads them from.

    It grows with what is written and is sealed against shrinking, so that no side can take memory away that the other maps.

    Args:
        fd: descriptor of memory that another process made; by default new memory is made. It is closed with the arena.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            fd = os.memfd_create("strop", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            os.ftruncate(fd, SMALLEST)
        self.fd = fd
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)

    def write(self, arrays: Sequence[Array]) -> list[Place]:
        """Copy arrays to the front, over what was there; return their places."""
        starts, end = [], 0
        for array in arrays:
            starts.append(end)
            end += -(-array.nbytes // ALIGN) * ALIGN
        if end > len(self._map):
            os.ftruncate(self.fd, 1 << (end - 1).bit_length())
            self._map = mmap.mmap(self.fd, os.fstat(self.fd).st_size)
        for array, start in zip(arrays, starts, strict=True):
            np.ndarray(array.shape, array.dtype, self._map, start)[...] = array
        return [[array.dtype.str, list(array.shape), start] for array, start in zip(arrays, starts, strict=True)]

    def read(self, places: Sequence[Place]) -> list[Array]:
        """Return the arrays at ``places`` without copying: they change with the next :meth:`write`.

        Raises:
            ArenaError: a place is not within the memory.
        """
        arrays = []
        for text, shape, start in places:
            dtype = np.dtype(text)
            end = start + dtype.itemsize * math.prod(shape)
            if end > len(self._map):
                self._map = mmap.mmap(self.fd, os.fstat(self.fd).st_size)
            if dtype.hasobject or min(start, *shape, 0) < 0 or end > len(self._map):
                raise ArenaError(f"an array of {text} {shape} at byte {start} does not lie within {len(self._map)} bytes.")
            arrays.append(np.ndarray(shape, dtype, self._map, start))
        return arrays

    def close(self) -> None:
        """Close the descriptor; the memory is given back when the last array that lies in it is gone. May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            del self._map  # holds a descriptor of its own
