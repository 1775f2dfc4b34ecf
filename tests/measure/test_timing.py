"""Timed blocks and the warm-up rule, on a scripted clock."""

import gc
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from strop.measure.timing import WarmRule, no_collector, time_calls, time_variants, warm
from strop.testing.scripted import ScriptedClock

MS = 1_000_000


class Fake:
    """A target whose n-th call takes what ``cost`` says."""

    def __init__(self, cost: Callable[[int, int], int], inputs: int = 8) -> None:
        self.clock, self.cost, self.points = ScriptedClock(), cost, {"p": inputs}
        self.seen: list[int] = []
        self.collecting: list[bool] = []
        self.synced = 0

    def run(self, point: str, index: int) -> None:
        self.collecting.append(gc.isenabled())
        self.clock.pass_ns(self.cost(len(self.seen), index))
        self.seen.append(index)

    def run_variant(self, point: str, index: int, variant: int) -> None:
        self.run(point, 1000 * index + variant)

    def digest(self, point: str, index: int) -> str:
        return ""

    def shapes(self, point: str, index: int) -> Any:
        return []

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        return None

    def close(self) -> None:
        pass


class Accelerated(Fake):
    """Work is handed over at once and done when synchronised."""

    def run(self, point: str, index: int) -> None:
        self.seen.append(index)

    def synchronize(self) -> None:
        self.synced += 1
        self.clock.pass_ns(self.cost(len(self.seen), 0))


def test_every_call_is_timed_alone_and_discards_are_left_out() -> None:
    target = Fake(lambda n, index: (n + 1) * MS + index)
    assert time_calls(target, "p", [5, 6, 7, 5], 1, target.clock) == [2 * MS + 6, 3 * MS + 7, 4 * MS + 5]
    assert target.seen == [5, 6, 7, 5]


def test_handed_over_work_is_inside_the_call() -> None:
    target = Accelerated(lambda n, index: MS)
    assert time_calls(target, "p", [0, 0, 0], 0, target.clock) == [MS, MS, MS]
    assert target.synced == 6


def test_variants_are_given_one_by_one() -> None:
    target = Fake(lambda n, index: MS)
    assert time_variants(target, "p", 3, [7, 8], target.clock) == [MS, MS]
    assert target.seen == [3007, 3008]


def test_the_collector_is_off_inside_and_back_on_after_an_error() -> None:
    target = Fake(lambda n, index: MS)
    time_calls(target, "p", [0, 1], 0, target.clock)
    assert target.collecting == [False, False]
    assert gc.isenabled()
    with pytest.raises(RuntimeError), no_collector():
        raise RuntimeError
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_steady_target_is_warm_after_the_least_time_and_two_windows() -> None:
    target = Fake(lambda n, index: 20 * MS)
    report = warm(target, "p", WarmRule(min_seconds=1.0), clock=target.clock)
    assert report.steady
    assert report.calls == 50 + 16
    assert report.call_seconds == pytest.approx(0.02)
    assert report.seconds == pytest.approx(66 * 0.02)


def test_warming_goes_on_while_calls_get_faster() -> None:
    target = Fake(lambda n, index: 20 * MS if n >= 90 else (200 - 2 * n) * MS)
    report = warm(target, "p", WarmRule(min_seconds=0.1), clock=target.clock)
    assert report.steady
    assert report.calls > 90
    assert report.call_seconds == pytest.approx(0.02)


def test_inputs_of_different_lengths_do_not_look_like_drift() -> None:
    target = Fake(lambda n, index: (1 + index) * MS, inputs=5)
    assert warm(target, "p", WarmRule(min_seconds=0.1), clock=target.clock).steady


def test_every_input_is_given_once_before_windows_are_compared() -> None:
    target = Fake(lambda n, index: MS, inputs=60)
    warm(target, "p", WarmRule(min_seconds=0.0), clock=target.clock)
    assert target.seen[:60] == list(range(60))


def test_giving_every_input_takes_a_third_of_the_time_at_most() -> None:
    target = Fake(lambda n, index: 200 * MS, inputs=1000)
    report = warm(target, "p", WarmRule(min_seconds=0.0, max_seconds=9.0), clock=target.clock)
    assert len(set(target.seen)) <= 16
    assert report.steady


def test_a_target_that_never_settles_is_given_up_and_reported() -> None:
    target = Fake(lambda n, index: int(MS * 1.1**n))
    report = warm(target, "p", WarmRule(min_seconds=0.0, max_seconds=5.0), clock=target.clock)
    assert not report.steady
    target = Fake(lambda n, index: MS * (1 + n))
    report = warm(target, "p", WarmRule(min_seconds=0.0, max_calls=40), clock=target.clock)
    assert not report.steady
    assert report.calls <= 40


def test_long_calls_get_shorter_windows() -> None:
    target = Fake(lambda n, index: 900 * MS)
    report = warm(target, "p", WarmRule(), clock=target.clock)
    assert report.steady
    assert report.calls == 8 + 6  # every input once, then two windows of three


def test_a_compile_event_keeps_two_equal_windows_from_counting() -> None:
    class Compiling(Fake):
        def compile_events(self) -> int:
            return min(len(self.seen), 60)

    target = Compiling(lambda n, index: MS)
    report = warm(target, "p", WarmRule(min_seconds=0.0), clock=target.clock)
    assert report.steady
    assert report.calls >= 60 + 16
    forever = Compiling(lambda n, index: MS)
    forever.compile_events = lambda: len(forever.seen)  # type: ignore[method-assign]
    assert not warm(forever, "p", WarmRule(min_seconds=0.0), clock=forever.clock).steady
    assert len(forever.seen) <= 200


def test_a_point_gets_its_share_of_the_time() -> None:
    target = Fake(lambda n, index: 10 * MS)
    assert warm(target, "p", WarmRule(min_seconds=1.0), share=0.5, clock=target.clock).calls == 50 + 16
