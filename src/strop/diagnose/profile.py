"""Where the time of a call goes, by operator."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from strop.contract.signature import Call
from strop.diagnose.diagnosis import OperatorShare
from strop.units import Seconds

PRODUCTS = ("mm", "linear", "conv", "scaled_dot_product", "lstm", "gru", "rnn_layer", "pointwise")
"""Parts of names of operators whose time goes to matrix products, convolutions or attention."""

_MAX_CALLS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What profiling saw at one operating point.

    Attributes:
        seconds: time of a call, unprofiled: the mean over the inputs timed, each by its median.
        timed: how many inputs were timed, from the first on; what is counted per call is counted over these.
        operators: by own time, largest first.
        inside: seconds per call inside operators, as the profiler saw them.
        profiled: seconds per call while profiled.
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
        start = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
            for args, kwargs in itertools.islice(itertools.cycle(calls), count):
                model(*args, **kwargs)
        profiled = (time.perf_counter() - start) / count
    events = [e for e in seen.key_averages() if "::" in e.key]  # operators carry their library's name, markers do not
    own = {e.key: (e.self_cpu_time_total * 1e-6, e.count) for e in events}
    total = sum(spent for spent, _ in own.values()) or 1e-12
    operators = [OperatorShare(name, spent / total, round(n / count)) for name, (spent, n) in own.items()]
    return Profile(
        seconds=mean,
        timed=timed,
        operators=tuple(sorted(operators, key=lambda o: -o.share)),
        inside=total / count,
        profiled=profiled,
        starts=round(sum(n for _, n in own.values()) / count),
    )


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
