"""How many rows memory allows: lowered at once when it runs short, regained slowly."""

from __future__ import annotations

from collections.abc import Callable

from strop.units import Ratio

CALM = 100
"""Full batches without trouble before more rows are tried."""
HALVED = 2.0
"""What rows are divided by where nothing else was asked for: additive increase, multiplicative decrease."""


class RowLimit:
    """Most rows of a batch.

    Args:
        most: what it never exceeds.
        first: where it starts; 0: at ``most``.
        scale: factor by which it is raised and lowered; 1: raised by one row, halved.
        headroom: share of memory that must be free.
        room: tells the share of memory that is free; asked once in :data:`CALM` full batches.
    """

    def __init__(
        self,
        most: int,
        *,
        first: int = 0,
        scale: Ratio = 1.0,
        headroom: Ratio = 0.0,
        room: Callable[[], Ratio] = lambda: 1.0,
    ) -> None:
        self.rows = min(first or most, most)
        self._most, self._scale, self._headroom, self._room = most, scale, headroom, room
        self._calm = 0

    def exhausted(self, rows: int) -> None:
        """Note that a batch of ``rows`` ran out of memory."""
        self.rows = max(1, min(self.rows, int(rows / (self._scale if self._scale > 1 else HALVED))))
        self._calm = 0

    def held(self, rows: int) -> None:
        """Note that a batch of ``rows`` went well; only batches at the limit say anything about it."""
        if rows < self.rows or (self.rows == self._most and not self._headroom):
            return
        self._calm += 1
        if self._calm < CALM:
            return
        self._calm = 0
        if self._headroom and self._room() < self._headroom:
            self.exhausted(self.rows)
        else:
            self.rows = min(self._most, max(self.rows + 1, int(self.rows * self._scale)))
