"""The last minutes of serving, kept second by second for the live page; bounded, and filled whether anybody looks or not."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.histogram import ROWS, SECONDS, percentile
from strop.serve.request import Outcome
from strop.serve.resources import Resources, read_resources
from strop.units import Seconds

STEP: Seconds = 1.0
KEPT = 300
"""Points kept: five minutes of them."""
SMOOTH = 10
"""Seconds over which percentiles are taken: one second of a quiet server holds too few requests for any."""
RECENT = 60
"""Seconds over which sizes of batches are counted."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """Counts since the start, at one time."""

    at: Seconds
    sent: int
    ended: dict[Outcome, int]
    in_time: int
    busy: Seconds
    cpu: Seconds
    latency: tuple[int, ...]
    rows: tuple[int, ...]


class Lookback:
    """Follows an application.

    Args:
        app: whose counts.

    Attributes:
        series: name → a value per point, oldest first; ``None`` where there was nothing to measure.
        resources: the latest reading.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._readings: deque[_Reading] = deque(maxlen=RECENT + 1)
        self.series: dict[str, deque[float | None]] = {}
        self.resources: Resources = read_resources()
        self._readings.append(self._read(app.desk.now()))

    async def run(self) -> None:
        """Take a point every second, for ever."""
        while True:
            await asyncio.sleep(STEP)
            self.take(self._app.desk.now())

    def take(self, now: Seconds) -> None:
        """Add the point that ends at ``now`` (on the desk's clock)."""
        self.resources = read_resources()
        before, new = self._readings[-1], self._read(now)
        self._readings.append(new)
        for name, value in {**_rates(before, new, self._app.desk), **self.percentiles(), **self._levels()}.items():
            self.series.setdefault(name, deque(maxlen=KEPT)).append(value if value is None else round(value, 6))

    def percentiles(self) -> dict[str, Seconds | None]:
        """Return median, 90th and 99th percentile of the latency of the last :data:`SMOOTH` seconds."""
        old, new = self._ago(SMOOTH), self._readings[-1]
        counts = [after - before for before, after in zip(old.latency, new.latency, strict=True)]
        return {name: percentile(SECONDS, counts, share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}

    def rates(self) -> dict[str, Any]:
        """Return requests of the last :data:`SMOOTH` seconds: sent and answered in a second, and the share that was in time."""
        old, new = self._ago(SMOOTH), self._readings[-1]
        seconds, sent = max(new.at - old.at, 1e-9), new.sent - old.sent
        ended = sum(new.ended.values()) - sum(old.ended.values())
        return {
            "sent": sent / seconds,
            "ok": (new.ended[Outcome.OK] - old.ended[Outcome.OK]) / seconds,
            "in_time": min(1.0, (new.in_time - old.in_time) / ended) if ended else None,
        }

    def batches(self) -> list[tuple[str, int]]:
        """Return ``(rows, batches)`` pairs of the last :data:`RECENT` seconds, up to the largest batch allowed."""
        old, new = self._ago(RECENT), self._readings[-1]
        counts = [after - before for before, after in zip(old.rows, new.rows, strict=True)]
        most = self._app.desk.scheduler.policy.max_rows
        names, low = [], 1
        for bound in ROWS:
            names.append(f"{bound}" if bound == low else f"{low}-{bound}")
            low = bound + 1
        shown = 1 + next((number for number, bound in enumerate(ROWS) if bound >= most), len(ROWS))
        return list(zip((*names, f"{low} or more"), counts, strict=True))[:shown]

    def _ago(self, seconds: int) -> _Reading:
        return self._readings[max(0, len(self._readings) - 1 - seconds)]

    def _read(self, now: Seconds) -> _Reading:
        desk = self._app.desk
        running = sum(max(0.0, now - batch.started) for batch in desk.scheduler.running)
        return _Reading(
            at=now,
            sent=desk.scheduler.accounts.sent,
            ended={outcome: desk.scheduler.accounts.ended[outcome] for outcome in Outcome},
            in_time=desk.counts.in_time,
            busy=desk.counts.execute_seconds.total + running,
            cpu=self.resources.cpu,
            latency=desk.counts.request_seconds.counts,
            rows=desk.counts.batch_rows.counts,
        )

    def _levels(self) -> dict[str, float | None]:
        return {
            "queue": float(len(self._app.desk.scheduler.queue)),
            "free": float(self.resources.free),
            "resident": float(self.resources.resident),
        }


def _rates(before: _Reading, new: _Reading, desk: Desk) -> dict[str, float | None]:
    seconds = max(new.at - before.at, 1e-9)
    busy = max(0.0, new.busy - before.busy) / seconds / desk.scheduler.policy.executors
    ended = {str(outcome): (new.ended[outcome] - before.ended[outcome]) / seconds for outcome in Outcome}
    return {**ended, "utilization": min(1.0, busy), "cpu": max(0.0, new.cpu - before.cpu) / seconds}
