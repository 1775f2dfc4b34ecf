"""Where the time of a call goes, by operator."""

from __future__ import annotations

import bisect
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from strop.contract.signature import Call
from strop.diagnose.diagnosis import OperatorShare
from strop.units import Seconds

PRODUCTS = ("mm", "linear", "conv", "scaled_dot_product", "lstm", "gru", "rnn_layer", "pointwise")
"""Parts of names of operators whose time goes to matrix products, convolutions or attention."""

_MAX_CALLS = 200
_CALL = "strop call"
"""Marks the calls of the model among what was profiled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What profiling saw at one operating point.

    Attributes:
        seconds: time of a call, unprofiled: the mean over the inputs timed, each by its median.
        timed: how many inputs were timed, from the first on; what is counted per call is counted over these.
        operators: by own time, largest first.
        inside: seconds per call inside operators, as the profiler saw them; averaged like ``seconds``.
        profiled: seconds per call while profiled, averaged like ``seconds``.
        starts: operators started per call.
    """

    seconds: Seconds
    timed: int
    operators: tuple[OperatorShare, ...]
    inside: Seconds
    profiled: Seconds
    starts: int

    @property
    def product_share(self) -> float:
        """Share of the operators' time in products."""
        return sum(o.share for o in self.operators if any(part in o.name for part in PRODUCTS))


def profile_calls(model: nn.Module, calls: Sequence[Call], seconds: Seconds) -> Profile:
    """Time calls for about half of ``seconds``, then profile for half as long; each at least one call, after warming up."""
    with torch.inference_mode():
        _time(model, calls, seconds / 8)
        times = _time(model, calls, seconds / 2)
        timed = min(len(times), len(calls))
        mean = statistics.fmean(statistics.median(times[number :: len(calls)]) for number in range(timed))
        count = max(1, min(len(times), int(seconds / 4 / mean)))
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
            for args, kwargs in itertools.islice(itertools.cycle(calls), count):
                with record_function(_CALL):
                    model(*args, **kwargs)
    profiled, own, starts = _read(seen, min(count, len(calls)))
    total = sum(own.values()) or 1e-12
    operators = [OperatorShare(name, spent / total, round(starts[name] / count)) for name, spent in own.items()]
    return Profile(
        seconds=mean,
        timed=timed,
        operators=tuple(sorted(operators, key=lambda o: -o.share)),
        inside=total,
        profiled=profiled,
        starts=round(sum(starts.values()) / count),
    )


def _read(seen: profile, inputs: int) -> tuple[Seconds, dict[str, Seconds], Counter[str]]:
    """Return seconds per call, seconds per call by operator, and how often each operator was started in all calls.

    Seconds are the mean over the inputs, each by the median of its calls: what interrupted one call for milliseconds would
    otherwise look like the operator that happened to run.
    """
    events = seen.events() or []  # type: ignore[no-untyped-call]
    calls = sorted((e.time_range.start, e.time_range.end) for e in events if e.name == _CALL)
    begins = [start for start, _ in calls]
    own: list[Counter[str]] = [Counter() for _ in calls]
    starts: Counter[str] = Counter()
    for event in events:
        if "::" in event.name:  # operators carry their library's name, markers do not
            own[max(0, bisect.bisect_right(begins, event.time_range.start) - 1)][event.name] += event.self_cpu_time_total * 1e-6
            starts[event.name] += 1

    def usual(values: Sequence[float]) -> Seconds:
        return statistics.fmean(statistics.median(values[number::inputs]) for number in range(inputs))

    profiled = usual([(end - start) * 1e-6 for start, end in calls])
    return profiled, {name: usual([call[name] for call in own]) for name in starts}, starts


def start_cost() -> Seconds:
    """Return what it costs to start an operator that does nothing worth mentioning, from Python."""
    x = torch.zeros(1)
    with torch.inference_mode():
        rounds = []
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(300):
                torch.add(x, x)
            rounds.append((time.perf_counter() - start) / 300)
    return min(rounds)


def _time(model: nn.Module, calls: Sequence[Call], seconds: Seconds) -> list[Seconds]:
    times: list[Seconds] = []
    end = time.perf_counter() + seconds
    for args, kwargs in itertools.islice(itertools.cycle(calls), _MAX_CALLS):
        start = time.perf_counter()
        model(*args, **kwargs)
        stop = time.perf_counter()
        times.append(stop - start)
        if stop > end:
            break
    return times
