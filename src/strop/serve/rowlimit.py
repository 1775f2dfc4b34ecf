"""How many rows memory allows: halved when it runs out, regained slowly (additive increase, multiplicative decrease)."""

from __future__ import annotations

CALM = 100
"""Full batches without trouble before one more row is tried."""


class RowLimit:
    """Most rows of a batch.

    Args:
        most: where it starts, and what it never exceeds.
    """

    def __init__(self, most: int) -> None:
        self.rows = self._most = most
        self._calm = 0

    def exhausted(self, rows: int) -> None:
        """Note that a batch of ``rows`` ran out of memory."""
        self.rows = max(1, min(self.rows, rows // 2))
        self._calm = 0

    def held(self, rows: int) -> None:
        """Note that a batch of ``rows`` went well; only batches at the limit say anything about it."""
        if rows >= self.rows < self._most:
            self._calm += 1
            if self._calm >= CALM:
                self.rows, self._calm = self.rows + 1, 0
