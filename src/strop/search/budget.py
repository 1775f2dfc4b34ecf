"""Where the time goes: what is left, what is reserved, and whether another step fits."""

from __future__ import annotations

from collections.abc import Callable

from strop.units import Ratio, Seconds

CONFIRM_SHARE: Ratio = 0.25
"""At least this share is kept for confirming; a search that cannot confirm has found nothing."""

CLOSING: Seconds = 4.0
"""Bundle, report and closing processes."""


class Budget:
    """A time budget with a reserve.

    Args:
        limit: seconds for the whole run.
        elapsed: seconds spent so far, earlier sittings included.
    """

    def __init__(self, limit: Seconds, elapsed: Callable[[], Seconds]) -> None:
        self.limit = limit
        self._elapsed = elapsed
        self._round: Seconds = 0.0

    @property
    def left(self) -> Seconds:
        """Seconds until the limit, less the time it takes to close the run."""
        return self.limit - CLOSING - self._elapsed()

    def learn_round(self, seconds: Seconds) -> None:
        """Note what one confirming round (two fresh processes, warmed and measured) costs here."""
        self._round = max(self._round, seconds)

    def reserve(self, rounds: int, evaluation: Seconds) -> Seconds:
        """Return what confirming will take: its rounds and its evaluation, or the fixed share if that is more."""
        return max(CONFIRM_SHARE * self.limit, rounds * self._round + evaluation)

    def allows(self, seconds: Seconds, reserved: Seconds) -> bool:
        """Tell whether a step of about ``seconds`` leaves the reserve untouched."""
        return self.left - seconds >= reserved
