"""Clocks and counter-based draws."""

import os
import time
from collections import Counter

import pytest

from strop.measure.clock import draw_inputs, monotonic_ns, processor_ns, resolution_ns, uniform, usable_cpus
from strop.testing.scripted import ScriptedClock


def test_the_processor_clock_of_a_process_counts_work_and_not_waiting() -> None:
    before = processor_ns(os.getpid())
    start = time.process_time_ns()
    while time.process_time_ns() - start < 20_000_000:
        pass
    worked = processor_ns(os.getpid()) - before
    assert worked >= 20_000_000
    assert abs(processor_ns(os.getpid()) - time.process_time_ns()) < 50_000_000


def test_a_process_that_is_gone_has_no_clock() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError, match=str(child)):
        processor_ns(child)


def test_the_resolution_is_the_smallest_step_seen() -> None:
    times = iter([0, 0, 70, 70, 100, 900])
    assert resolution_ns(lambda: next(times), looks=5) == 30
    assert resolution_ns(ScriptedClock()) == 0  # a clock that stands still has no step
    assert 0 < resolution_ns(monotonic_ns) < 10_000_000


def test_cpus_are_those_of_the_affinity() -> None:
    assert usable_cpus() == os.sched_getaffinity(0)


def test_uniform_depends_on_its_key_alone_and_fills_the_unit_interval() -> None:
    assert uniform(1, "a", 2) == uniform(1, "a", 2)
    assert len({uniform(1, "a", 2), uniform(1, "a", 3), uniform(2, "a", 2), uniform(1, "b", 2), uniform("1a", 2)}) == 5
    drawn = [uniform(5, n) for n in range(4000)]
    assert all(0 <= value < 1 for value in drawn)
    bins = Counter(int(10 * value) for value in drawn)
    assert all(abs(bins[place] - 400) < 5 * 19 for place in range(10))  # five standard deviations of a binomial count


@pytest.mark.parametrize(("count", "available"), [(3, 16), (16, 16), (40, 16), (7, 1), (5, 2)])
def test_inputs_repeat_only_when_there_are_none_left(count: int, available: int) -> None:
    drawn = draw_inputs(count, available, 7, "x")
    assert len(drawn) == count
    assert set(drawn) <= set(range(available))
    for start in range(0, count, available):
        deck = drawn[start : start + available]
        assert len(set(deck)) == len(deck)


def test_inputs_are_a_function_of_the_key_and_differ_between_pairs() -> None:
    assert draw_inputs(8, 100, 1, "c", 0) == draw_inputs(8, 100, 1, "c", 0)
    assert len({draw_inputs(8, 100, 1, "c", pair) for pair in range(50)}) == 50


def test_every_input_is_drawn_equally_often_first() -> None:
    firsts = Counter(draw_inputs(1, 4, 3, pair)[0] for pair in range(4000))
    assert all(abs(firsts[index] - 1000) < 5 * 28 for index in range(4))


@pytest.mark.parametrize(("size", "available"), [(3, 8), (8, 8), (20, 8), (5, 64), (1, 1)])
def test_draws_that_go_on_use_every_input_equally_often(size: int, available: int) -> None:
    whole = draw_inputs(12 * size, available, 7, "x")
    parts = [draw_inputs(size, available, 7, "x", start=size * turn) for turn in range(12)]
    assert sum(parts, ()) == whole
    seen = Counter(whole)
    assert max(seen.values()) - min(seen[index] for index in range(available)) <= 1


def test_every_shuffle_is_another_one() -> None:
    assert len({draw_inputs(8, 8, 7, "x", start=8 * turn) for turn in range(12)}) == 12
