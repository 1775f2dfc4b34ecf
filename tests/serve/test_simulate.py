"""What each rule of the scheduler is for, seen by taking it away; the full table is benchmarks/serving/ablation.py."""

from __future__ import annotations

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


def scheduler(policy: Policy = POLICY, wrong: float = 1.0) -> Scheduler:
    seeds = [Seed(width=1, rows=rows, seconds=wrong * (FIXED + EACH * rows)) for rows in (1, 8, 64)]
    return Scheduler(policy, LatencyModel(seeds, policy.max_rows))


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
    assert result.goodput >= 0.93 / load
    assert result.quantile(0.99) <= POLICY.objective


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


@pytest.mark.parametrize("slower", [3.0, 8.0])
def test_a_short_disturbance_costs_no_more_than_itself(slower: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large batches that looked slow are not run any more, so only forgetting brings them back."""

    def goodput() -> float:
        kept = scheduler()
        clock, quick = [0.0], engine()

        def start(now: float) -> Decision:
            clock[0] = now
            return Scheduler.start(kept, now)

        monkeypatch.setattr(kept, "start", start)
        disturbed: Engine = lambda width, rows: quick(width, rows) * (slower if 1.0 <= clock[0] < 1.5 else 1.0)  # noqa: E731
        return simulate(kept, poisson(0.8, seconds=8.0), disturbed).goodput

    assert goodput() >= 0.8
    monkeypatch.setattr("strop.serve.latency.MEMORY", math.inf)
    assert goodput() < 0.8
