"""Where the time goes: what is left, what is reserved, and whether another step fits."""

from __future__ import annotations

from collections.abc import Callable

from strop.units import Ratio, Seconds

CONFIRM_SHARE: Ratio = 0.25
"""At least this share is kept for confirming; a search that cannot confirm has found nothing."""

CLOSING: Seconds = 3.0
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

    @property
    def left(self) -> Seconds:
        """Seconds until the limit, less the time it takes to close the run."""
        return self.limit - CLOSING - self._elapsed()

    def reserve(self, confirming: Seconds) -> Seconds:
        """Return what ``confirming`` will take, or the fixed share if that is more."""
        return max(CONFIRM_SHARE * self.limit, confirming)

    def allows(self, seconds: Seconds, reserved: Seconds) -> bool:
        """Tell whether a step of about ``seconds`` leaves the reserve untouched."""
        return self.left - seconds >= reserved
