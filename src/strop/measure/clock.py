"""Clocks: what time means to the instrument, and random numbers that depend only on what they are for."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns nanoseconds; only differences mean something."""

monotonic_ns: Clock = time.perf_counter_ns
"""The clock of every mark and timed call. On Linux it is ``CLOCK_MONOTONIC``, so processes can be compared with each other."""


def resolution_ns(clock: Clock = monotonic_ns, looks: int = 1000) -> int:
    """Return the smallest step the clock was seen to take, in nanoseconds."""
    smallest, last = 0, clock()
    for _ in range(looks):
        now = clock()
        if now > last and (smallest == 0 or now - last < smallest):
            smallest = now - last
        last = now
    return smallest


def processor_ns(pid: int) -> int:
    """Return the processor time that a whole process has used, in nanoseconds.

    Linux numbers the clock of another process ``(~pid << 3) | 2``; its resolution is that of the scheduler, not of the
    10 ms tick in which ``/proc/<pid>/stat`` counts.

    Raises:
        ProcessLookupError: no such process.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError as error:
        raise ProcessLookupError(f"process {pid} is gone") from error


def usable_cpus() -> frozenset[int]:
    """Return the numbers of the processors this process may run on."""
    return frozenset(os.sched_getaffinity(0))


def uniform(*key: object) -> float:
    """Return a number in [0, 1) that is a pure function of ``key``: a counter-based generator.

    Keys are joined by their text; numbers drawn for different keys are independent for every practical purpose
    (BLAKE2b of the key).
    """
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53


def draw_inputs(count: int, available: int, *key: object, start: int = 0) -> tuple[int, ...]:
    """Draw ``count`` input ids from ``range(available)``: whole shuffles one after another, from place ``start`` on.

    Draws that go on where the last one ended use every input equally often, or once more. A draw repeats an input only
    beyond the end of a shuffle.
    """
    drawn: list[int] = []
    while len(drawn) < count:
        begun, place = divmod(start + len(drawn), available)
        end = min(available, place + count - len(drawn))
        deck = list(range(available))
        for to in range(end):
            swap = to + int(uniform(*key, begun * available + to) * (available - to))
            deck[to], deck[swap] = deck[swap], deck[to]
        drawn.extend(deck[place:end])
    return tuple(drawn)
