"""What a desk counts; read off where somebody looks, so that requests pay for nothing but the counting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from strop.serve.histogram import RATIOS, ROWS, SECONDS, SHARES, Histogram
from strop.serve.scheduler import Batch
from strop.units import Seconds


@dataclass(slots=True, kw_only=True)
class Counts:
    """Figures of one desk; how requests ended is in the scheduler's accounts.

    Attributes:
        request_seconds: arrival to answer of answered requests.
        queue_seconds: arrival to start of the batch.
        execute_seconds: start to end of a batch.
        batch_rows: rows of a batch.
        error_ratios: time of a batch over its prediction.
        padding_ratios: share of a batch that only makes its rows equally long.
        in_time: requests answered within the objective.
        failures: reason → requests without a result; and batches ``"retried"``.
        loads: result → newer versions asked for.
    """

    request_seconds: Histogram = field(default_factory=partial(Histogram, SECONDS))
    queue_seconds: Histogram = field(default_factory=partial(Histogram, SECONDS))
    execute_seconds: Histogram = field(default_factory=partial(Histogram, SECONDS))
    batch_rows: Histogram = field(default_factory=partial(Histogram, ROWS))
    error_ratios: Histogram = field(default_factory=partial(Histogram, RATIOS))
    padding_ratios: Histogram = field(default_factory=partial(Histogram, SHARES))
    in_time: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    loads: Counter[str] = field(default_factory=Counter)

    def answered(self, seconds: Seconds, objective: Seconds) -> None:
        """Count a request that was answered after ``seconds``."""
        self.request_seconds.add(seconds)
        self.in_time += seconds <= objective

    def ran(self, batch: Batch, now: Seconds) -> None:
        """Count a batch that went well until ``now``."""
        self.execute_seconds.add(now - batch.started)
        self.batch_rows.add(batch.rows)
        self.error_ratios.add((now - batch.started) / max(batch.expected - batch.started, 1e-9))
