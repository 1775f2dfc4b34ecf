"""Every request that came is accounted for: it is open, or it ended in exactly one way."""

from __future__ import annotations

from collections import Counter

from strop.serve.request import Outcome


class Accounts:
    """Counts of requests; ``sent == open + ok + refused + expired + failed + cancelled`` at every moment.

    Attributes:
        sent: requests that came.
        ended: outcome → requests that ended so.
        open: requests that have not ended.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.open = 0
        self.ended: Counter[Outcome] = Counter()

    def begin(self) -> None:
        """Count a request that came."""
        self.sent += 1
        self.open += 1

    def end(self, outcome: Outcome) -> None:
        """Count the end of a request that came."""
        self.open -= 1
        self.ended[outcome] += 1

    def correct(self, said: Outcome, was: Outcome) -> None:
        """Count a request that ended otherwise than it was said to."""
        self.ended[said] -= 1
        self.ended[was] += 1

    @property
    def unaccounted(self) -> int:
        """Requests that came and are neither open nor ended; anything but 0 is a mistake in strop."""
        return self.sent - self.open - self.ended.total()
