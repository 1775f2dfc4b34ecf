"""How late the event loop comes to what is due: time that a request loses before the scheduler sees it, and after."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from strop.units import Ratio, Seconds

BEAT: Seconds = 10e-3
"""Time between two looks, which go on while batches run: nothing else keeps a loop from what is due."""
BEATS = 200
"""Looks that are remembered; what is likely is read off them after each tenth of them."""
LIKELY: Ratio = 0.99
PASSES = 2
"""Times that a request waits for the loop: on its way in, and its answer on the way out."""
MOST: Ratio = 0.1
"""Share of the objective that is set aside at most: a loop that stands still must not make a server refuse everything."""


class Lag:
    """Looks at the loop while batches run, and says what to set aside for it.

    Args:
        loop: what is looked at.
        now: the time.
        busy: whether batches run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], Seconds], busy: Callable[[], bool]) -> None:
        self._loop, self._now, self._busy = loop, now, busy
        self._late: deque[Seconds] = deque(maxlen=BEATS)
        self._unread = 0
        self._likely: Seconds = 0.0
        self._beating = False

    def watch(self) -> None:
        """Look for as long as batches run."""
        if not self._beating:
            self._beating = True
            self._expect()

    def reserve(self, objective: Seconds) -> Seconds:
        """Return what to set aside of an objective for waits that nobody sees."""
        return min(PASSES * self._likely, MOST * objective)

    def note(self, late: Seconds) -> None:
        """Note by how much the loop was late."""
        self._late.append(max(0.0, late))
        self._unread += 1
        if self._unread >= BEATS // 10:
            self._unread = 0
            self._likely = sorted(self._late)[int(LIKELY * (len(self._late) - 1))]

    def _expect(self) -> None:
        self._loop.call_later(BEAT, self._beat, self._now() + BEAT)

    def _beat(self, due: Seconds) -> None:
        self.note(self._now() - due)
        self._beating = self._busy()
        if self._beating:
            self._expect()
