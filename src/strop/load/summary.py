"""What the samples of one rate say. Pure: the same samples give the same summary, so a report can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from strop.errors import MeasureError
from strop.load.arrivals import FloatArray
from strop.load.samples import Outcome, Samples
from strop.load.slices import percentile_intervals, share_interval, slice_numbers
from strop.measure.result import Finding, Interval
from strop.units import Ratio, Seconds, show_seconds, show_share

SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)
LATE, LATE_SHARE = 1e-3, 0.1
"""The generator is late when the p99 of its own lag is over both 1 ms and this share of the p99 latency."""
BUSY = 0.9
"""Share of one core above which the generator may be what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A percentile of the latency of the requests that were answered.

    Attributes:
        share: for instance 0.99.
        estimate: seconds from the scheduled time.
        interval: 95 %, over slices of time; ``None``: fewer than ten requests lie above, or the run is too short.
    """

    share: Ratio
    estimate: Seconds
    interval: Interval | None = None

    @property
    def name(self) -> str:
        """``"p50"``, ``"p99.9"``."""
        return f"p{100 * self.share:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One rate in numbers.

    Attributes:
        rate: requests per second that were asked for.
        seconds: counted part of the schedule, shorter than planned when the load was interrupted.
        account: what became of the requests, warm-up included: ``scheduled``, ``sent`` and every ending.
        counted: requests after the warm-up, on which everything below rests.
        codes: status or reason → how often, warm-up included.
        throughput: answered requests per second of the schedule.
        objective: latency that was to be kept, seconds; ``None``: none was named.
        goodput: share of all counted requests that was answered within the objective.
        latency: of the answered ones.
        refusal: p99 of the time until a refusal was known, seconds; ``None``: nothing was refused.
        lag: p50, p99 and maximum of the generator's own lag, seconds.
        processor: share of one core that the generator used.
        findings: what speaks against the numbers.
    """

    rate: float
    seconds: Seconds
    account: Mapping[str, int]
    counted: int
    codes: Mapping[str, int]
    throughput: float
    objective: Seconds | None
    goodput: Interval | None
    latency: tuple[Percentile, ...]
    refusal: Seconds | None
    lag: tuple[Seconds, Seconds, Seconds]
    processor: Ratio
    findings: tuple[Finding, ...] = ()

    def percentile(self, share: float) -> Percentile | None:
        """Return one percentile, if there were enough answers for it."""
        return next((p for p in self.latency if p.share == share), None)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


def summarize(
    samples: Samples,
    *,
    rate: float,
    seconds: Seconds,
    warmup: Seconds = 0.0,
    objective: Seconds | None = None,
    processor: Ratio = 0.0,
) -> Summary:
    """Reduce the samples of one rate.

    Args:
        samples: of ``warmup + seconds``.
        rate: requests per second that were asked for.
        seconds: counted part of the schedule as planned.
        warmup: what was scheduled before this time is in the account and nowhere else.
        objective: latency that was to be kept, seconds.
        processor: share of one core that the generator used.

    Raises:
        MeasureError: the account does not balance, or nothing was sent after the warm-up.
    """
    account = samples.account()
    counted = samples.counted(warmup)
    if not counted.any():
        raise MeasureError(f"none of {account['scheduled']} requests was sent after {warmup:g} s of warm-up; run for longer")
    if np.isnan(samples.sent).any():
        seconds = max(float(samples.scheduled[counted].max()) - warmup, 1e-9)
    slices = slice_numbers(samples.scheduled, warmup, warmup + seconds)
    ok = counted & (samples.outcome == Outcome.OK)
    refused = counted & (samples.outcome == Outcome.REFUSED)
    latency, lag = samples.latency, np.quantile(samples.lag[counted], [0.5, 0.99, 1.0])
    good = ok & (latency <= objective) if objective is not None else None
    return Summary(
        rate=rate,
        seconds=seconds,
        account=account,
        counted=int(counted.sum()),
        codes=samples.codes(),
        throughput=float(ok.sum()) / seconds,
        objective=objective,
        goodput=None if good is None else share_interval(good[counted], slices[counted]),
        latency=_percentiles(latency[ok], slices[ok]),
        refusal=float(np.quantile(latency[refused], 0.99)) if refused.any() else None,
        lag=(float(lag[0]), float(lag[1]), float(lag[2])),
        processor=processor,
        findings=_findings(samples, ok, warmup, seconds, float(lag[1]), processor),
    )


def _percentiles(latency: FloatArray, slices: Any) -> tuple[Percentile, ...]:
    shares = [share for share in SHARES if len(latency) * (1 - share) >= 1]
    if not shares:
        return ()
    estimates = np.quantile(latency, shares, method="inverted_cdf")
    intervals = percentile_intervals(latency, slices, shares)
    return tuple(
        Percentile(share=share, estimate=float(at), interval=interval)
        for share, at, interval in zip(shares, estimates, intervals, strict=True)
    )


def _findings(
    samples: Samples, ok: Any, warmup: Seconds, seconds: Seconds, late: Seconds, processor: Ratio
) -> tuple[Finding, ...]:
    found = []
    latency = samples.latency[ok]
    limit = max(LATE, LATE_SHARE * float(np.quantile(latency, 0.99))) if len(latency) else LATE
    if late > limit:
        message = f"the generator sent 1 request of 100 more than {show_seconds(late)} late: it was a bottleneck itself"
        found.append(Finding(code="generator-late", message=message, advice="take a lower rate, or give it a core of its own"))
    if processor > BUSY:
        message = f"the generator used {show_share(processor)} of a core, so it may be what was measured"
        found.append(Finding(code="generator-busy", message=message, advice="take a lower rate, or binary tensors"))
    if _grows(samples, ok, warmup, seconds):
        message = "latency grew throughout: the queue had not settled, so its percentiles depend on the duration"
        found.append(Finding(code="queue-grows", message=message, advice="take a lower rate, or a server that refuses in time"))
    unsent = int((samples.outcome == Outcome.UNSENT).sum())
    if unsent:
        message = f"interrupted: {unsent} scheduled requests were never sent"
        found.append(Finding(code="interrupted", message=message, advice="figures rest on what was sent until then"))
    return tuple(found)


def _grows(samples: Samples, ok: Any, warmup: Seconds, seconds: Seconds) -> bool:
    """Whether the median latency of each third of the run is at least half as long again as that of the third before."""
    edges = warmup + seconds * np.array([1 / 3, 2 / 3])
    third = np.digitize(samples.scheduled, edges)
    parts = [samples.latency[ok & (third == number)] for number in range(3)]
    if min(len(part) for part in parts) < 10:
        return False
    first, second, last = (float(np.median(part)) for part in parts)
    return second > 1.5 * first and last > 1.25 * second
