"""Timed blocks and the warm-up rule. Runs inside the measured process; the clock is an argument."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from strop.measure.clock import Clock, monotonic_ns
from strop.measure.target import Target
from strop.units import Seconds

SETTLING: Seconds = 0.3
"""For comparing windows after everything that had to be compiled is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRule:
    """When an arm counts as warm.

    Attributes:
        min_calls: calls at each point, at least.
        min_seconds: seconds of calls over all points together, at least.
        window: calls in a window; a window shrinks to what fits into one second, but never below three calls.
        tolerance: two neighbouring windows agree when their medians differ by less than this share.
        max_calls: calls at each point, at most.
        max_seconds: seconds over all points together, at most. A third of it may go into giving every input once; a target
            that compiles something on the way may take all of it at each point, and ``SETTLING`` more.
    """

    min_calls: int = 3
    min_seconds: Seconds = 1.0
    window: int = 8
    tolerance: float = 0.02
    max_calls: int = 200
    max_seconds: Seconds = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmReport:
    """How warming one operating point went.

    Attributes:
        calls: calls made.
        seconds: time they took.
        steady: two neighbouring windows agreed and nothing was compiled meanwhile.
        call_seconds: median call time in the last window.
    """

    calls: int
    seconds: Seconds
    steady: bool
    call_seconds: Seconds

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


def _nothing() -> None:
    return None


def synchronizer(target: Target) -> Callable[[], None]:
    """Return the target's ``synchronize``, or a function that does nothing."""
    return getattr(target, "synchronize", _nothing)


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep the garbage collector out of a timed stretch, whatever happens in it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def time_calls(target: Target, point: str, inputs: Sequence[int], discards: int, clock: Clock = monotonic_ns) -> list[int]:
    """Make one call per entry of ``inputs`` and return the nanoseconds of all but the first ``discards`` of them."""
    run, synchronize, taken = target.run, synchronizer(target), []
    with no_collector():
        for index in inputs:
            synchronize()
            start = clock()
            run(point, index)
            synchronize()
            taken.append(clock() - start)
    return taken[discards:]


def time_variants(target: Any, point: str, index: int, variants: Sequence[int], clock: Clock = monotonic_ns) -> list[int]:
    """Time one call on each of ``variants`` of input ``index``: inputs the target has never seen."""
    run, synchronize, taken = target.run_variant, synchronizer(target), []
    getattr(target, "make_variants", lambda *_: None)(point, index, variants)
    with no_collector():
        for variant in variants:
            synchronize()
            start = clock()
            run(point, index, variant)
            synchronize()
            taken.append(clock() - start)
    return taken


def warm(target: Target, point: str, rule: WarmRule, share: float = 1.0, clock: Clock = monotonic_ns) -> WarmReport:
    """Call ``target`` at ``point`` until it is steady, or the rule's caps are reached.

    First every input is given once, as far as the rule allows, because many engines build something for each new shape, and
    building must not fall into a timed block. Then windows over the same inputs are compared, so that inputs of different
    lengths do not look like drift.

    Args:
        target: what is warmed.
        point: the operating point.
        rule: the limits.
        share: part of the rule's seconds that this point may have.
        clock: nanoseconds.
    """
    start = clock()
    least, most = start + 1e9 * share * rule.min_seconds, start + 1e9 * share * rule.max_seconds
    begun = _events(target)

    def may_go_on() -> bool:
        compiles = _events(target) > begun
        return clock() < (start + 1e9 * rule.max_seconds if compiles else max(least, (2 * start + most) / 3))

    calls, typical = _first_calls(target, point, rule, least, may_go_on, clock)
    most = max(most, clock() + 1e9 * SETTLING) if _events(target) > begun else most
    available = target.points[point]
    window = max(3, min(rule.window, int(1e9 // max(typical, 1))))
    chosen = [number % available for number in range(window)]
    previous, median, steady = math.inf, typical, False
    while not steady and clock() < most and calls + window <= rule.max_calls:
        before = _events(target)
        median = _median(time_calls(target, point, chosen, 0, clock))
        calls += window
        quiet = _events(target) == before
        steady = quiet and abs(median - previous) < rule.tolerance * min(median, previous)
        previous = median if quiet else math.inf
    return WarmReport(calls=calls, seconds=(clock() - start) / 1e9, steady=steady, call_seconds=median / 1e9)


def _first_calls(
    target: Target, point: str, rule: WarmRule, least: float, may_go_on: Callable[[], bool], clock: Clock
) -> tuple[int, float]:
    """Make the calls that precede the windows; return how many, and the nanoseconds of the last one."""
    available, calls, last = target.points[point], 0, 0.0
    room = max(rule.min_calls, rule.max_calls - 3 * rule.window)
    while calls < rule.min_calls or (calls < room and (clock() < least or (calls < available and may_go_on()))):
        last = float(time_calls(target, point, [calls % available], 0, clock)[0])
        calls += 1
    return calls, last


def _median(values: Sequence[int]) -> float:
    # The statistics module would add a tenth to the start-up time of every arm.
    ordered, half = sorted(values), len(values) // 2
    return float(ordered[half]) if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _events(target: Target) -> int:
    count = getattr(target, "compile_events", None)
    return int(count()) if count is not None else 0
