"""What each rule of the scheduler is for, seen by taking it away; the full table is benchmarks/serving/ablation.py."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from strop.serve.latency import LatencyModel, Seed
from strop.serve.policy import Policy
from strop.serve.scheduler import Decision, Scheduler
from strop.serve.simulate import Arrival, Engine, Simulated, simulate

POLICY = Policy(objective=50e-3)
FIXED, EACH = 8e-3, 0.25e-3
CAPACITY = 64 / (FIXED + 64 * EACH)


def scheduler(policy: Policy = POLICY, wrong: float = 1.0, kind: type[Scheduler] = Scheduler) -> Scheduler:
    seeds = [Seed(width=1, rows=rows, seconds=wrong * (FIXED + EACH * rows)) for rows in (1, 8, 64)]
    return kind(policy, LatencyModel(seeds, policy.max_rows))


def poisson(load: float, seconds: float = 4.0, level: Callable[[random.Random], int] = lambda _: 2) -> Iterator[Arrival]:
    draw, now = random.Random(0), 0.0
    while (now := now + draw.expovariate(load * CAPACITY)) < seconds:
        yield Arrival(at=now, level=level(draw))


def engine(slower: float = 1.0) -> Engine:
    draw = random.Random(1)
    return lambda width, rows: slower * (FIXED + EACH * rows) * draw.lognormvariate(0, 0.06)


def served(load: float, policy: Policy = POLICY, wrong: float = 1.0) -> Simulated:
    return simulate(scheduler(policy, wrong), poisson(load), engine())


def test_an_idle_server_answers_at_once() -> None:
    result = served(0.02)
    assert result.goodput == 1.0
    assert result.quantile(0.5) == pytest.approx(FIXED + EACH, rel=0.1)


@pytest.mark.parametrize("load", [1.3, 2.0])
def test_overload_costs_the_excess_and_no_more(load: float) -> None:
    result = served(load)
    assert result.goodput >= 0.95 / load
    assert result.quantile(0.99) <= POLICY.objective


def overloaded(load: float) -> float:
    """Goodput of a model with a large fixed part, times what batches of half the objective could give."""
    fixed, each, draw = 20e-3, 2e-3, random.Random(2)
    policy = Policy(objective=0.1)
    model = LatencyModel([Seed(width=1, rows=rows, seconds=fixed + each * rows) for rows in (1, 8, 64)], policy.max_rows)
    times = itertools.accumulate(draw.expovariate(load * 300.0) for _ in range(int(load * 300.0 * 6)))
    result = simulate(Scheduler(policy, model), [Arrival(at=at) for at in times], lambda _, rows: fixed + each * rows)
    assert result.quantile(0.99) <= policy.objective
    return result.goodput * load


@pytest.mark.parametrize(("load", "gain"), [(1.3, 1.0), (2.0, 1.05)])
def test_the_quicker_requests_come_the_larger_the_batches_that_fresh_ones_fill(
    load: float, gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = overloaded(load)
    monkeypatch.setattr("strop.serve.pace.Pace.rate", lambda *_: 0.0)
    assert planned > gain * overloaded(load)
    assert planned > 0.96


def test_without_early_drop_late_heads_force_small_batches_on_all() -> None:
    assert served(1.3, replace(POLICY, early_drop=False)).goodput < 0.7 * served(1.3).goodput


def test_without_admission_the_refused_learn_it_at_their_deadline() -> None:
    kept = scheduler(replace(POLICY, admission=False))
    simulate(kept, poisson(2.0), engine())
    assert (kept.accounts.ended["refused"], kept.accounts.ended["expired"] > 1000) == (0, True)
    full = scheduler()
    simulate(full, poisson(2.0), engine())
    assert full.accounts.ended["refused"] > 5 * full.accounts.ended["expired"]


@pytest.mark.parametrize("wrong", [0.3, 3.0])
def test_wrong_seeds_are_unlearned(wrong: float) -> None:
    assert served(0.9, wrong=wrong).goodput > 0.9


def test_a_machine_believed_too_slow_for_anything_is_tried_again() -> None:
    slow = scheduler(wrong=20.0)
    result = simulate(slow, poisson(0.1, seconds=8.0), engine())
    assert result.goodput > 0.5
    assert slow.accounts.ended["refused"] > 0


def test_low_priority_is_served_under_sustained_high_priority_load() -> None:
    mixed = simulate(
        scheduler(replace(POLICY, admission=False)), poisson(0.9, level=lambda draw: 1 if draw.random() < 0.9 else 3), engine()
    )
    urgent, patient = (sorted(mixed.waits[level]) for level in (1, 3))
    assert urgent[len(urgent) // 2] < patient[len(patient) // 2], "urgent requests wait less"
    assert len(patient) > 0.07 * (len(urgent) + len(patient)), "the others are not starved"


def test_everything_sent_is_accounted_for() -> None:
    kept = scheduler()
    result = simulate(kept, poisson(1.5), engine())
    assert kept.accounts.sent == result.sent == sum(kept.accounts.ended.values())
    assert sum(map(len, result.waits.values())) == kept.accounts.ended["ok"]
    assert (kept.accounts.open, kept.accounts.unaccounted) == (0, 0)


def disturbed(slower: float) -> float:
    """Goodput over 8 s at load 0.8 of which half a second takes so many times longer."""
    clock, quick = [0.0], engine()

    class Watched(Scheduler):
        def start(self, now: float) -> Decision:
            clock[0] = now
            return super().start(now)

    def taken(width: int, rows: int) -> float:
        return quick(width, rows) * (slower if 1.0 <= clock[0] < 1.5 else 1.0)

    return simulate(scheduler(kind=Watched), poisson(0.8, seconds=8.0), taken).goodput


@pytest.mark.parametrize("slower", [3.0, 5.0, 8.0])
def test_a_short_disturbance_costs_little_more_than_itself(slower: float) -> None:
    assert disturbed(slower) >= 0.8


def test_large_batches_that_once_looked_slow_come_back_only_because_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strop.serve.latency.MEMORY", math.inf)
    assert disturbed(5.0) < 0.75
