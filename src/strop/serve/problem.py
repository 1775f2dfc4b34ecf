"""An answer that is not a result."""

from __future__ import annotations

import math

from strop.errors import StropError
from strop.units import Seconds


class Problem(StropError):
    """Ends a request with a status and words for its client.

    The words name what the client sent and what to do; never a path, a trace or anything else of the inside.

    Args:
        status: HTTP status.
        message: for the client.
        retry: seconds after which it is worth trying again.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, *, retry: Seconds | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.status, self.message, self.retry = status, message, retry
        self.headers = headers if retry is None else (*headers, ("retry-after", str(max(1, math.ceil(retry)))))
        super().__init__(message)


def bad(message: str) -> Problem:
    """Return the problem of a request that does not make sense."""
    return Problem(400, message)
