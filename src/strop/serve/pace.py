"""How quickly requests come: rows per second by bucket, smoothed, so that batches can be planned before they are full."""

from __future__ import annotations

import math

from strop.serve.request import Bucket
from strop.units import Seconds

LOOK: Seconds = 0.05
"""Time between two readings; in between the figures stand still, so that what is planned with them does too."""
SMOOTH: Seconds = 0.5
"""Time after which what came counts only ``1 / e`` of what comes now."""
NOTHING = 0.1
"""Rows per second below which a bucket is forgotten: clients choose the buckets, and there may be many."""


class Pace:
    """Counts rows as they come."""

    def __init__(self) -> None:
        self._rates: dict[Bucket, float] = {}
        self._came: dict[Bucket, int] = {}
        self._since: Seconds | None = None

    def count(self, now: Seconds, bucket: Bucket, rows: int) -> None:
        """Note that rows came ``now``."""
        if self._since is None:
            self._since = now
        elif now - self._since >= LOOK:
            self._read(now - self._since)
            self._since = now
        self._came[bucket] = self._came.get(bucket, 0) + rows

    def rate(self, bucket: Bucket) -> float:
        """Return the rows per second that came of a bucket until the latest reading."""
        return self._rates.get(bucket, 0.0)

    def _read(self, elapsed: Seconds) -> None:
        kept = math.exp(-elapsed / SMOOTH)
        buckets = self._rates.keys() | self._came.keys()
        rates = {b: kept * self.rate(b) + (1 - kept) * self._came.get(b, 0) / elapsed for b in buckets}
        self._rates = {bucket: rate for bucket, rate in rates.items() if rate >= NOTHING}
        self._came = {}
