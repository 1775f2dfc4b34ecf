"""Which settings of a service are worth a real server: all of them served in virtual time, by the bundle's measured times."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from strop import catalogue
from strop.contract.card import Aim
from strop.contract.draft import Facts
from strop.contract.instruction import Instruction
from strop.contract.recipe import Recipe
from strop.contract.service import Service
from strop.contract.ties import Trait
from strop.measure.host import Host
from strop.serve.latency import LatencyModel, Seed
from strop.serve.policy import policy_of
from strop.serve.scheduler import Scheduler
from strop.serve.simulate import Arrival, simulate
from strop.trial.serving import Traffic
from strop.units import Ratio

REQUESTS = 1500
"""Requests served in virtual time for each setting."""
NOTICEABLE: Ratio = 0.02
"""A share of requests by which a setting must be better in virtual time: one engine without noise shows shapes, not margins."""


def recipes(facts: Facts, host: Host, start: frozenset[Trait], only: Iterable[int] = ()) -> list[Recipe]:
    """Return every combination of choices of every built instruction that is for goodput; those at their defaults first."""
    wanted, found = set(only), list[Recipe]()
    for row in catalogue.built():
        if row.cls is None or not issubclass(row.cls, Instruction) or Aim.GOODPUT not in row.cls.card.aims:
            continue
        default = row.cls()
        if (wanted and row.number not in wanted) or not default.ties().needs <= start:
            continue
        space = default.space(facts, host)
        for values in itertools.product(*space.values()):
            found.append(Recipe([replace(default, **dict(zip(space, values, strict=True)))]))  # type: ignore[type-var]
    return found


def rehearse(service: Service, traffic: Traffic, seeds: Sequence[Seed], seed: int) -> Ratio:
    """Return the goodput of a service in virtual time.

    Args:
        service: how requests become calls.
        traffic: what is sent.
        seeds: measured times of calls; they are taken for the truth, and known to the scheduler.
        seed: of the arrivals.
    """
    windows, policy = traffic.windows, policy_of(service)
    times = windows.draw(windows.rate, REQUESTS / windows.rate, seed)
    shapes = itertools.cycle(traffic.buckets)
    arrivals = [Arrival(at=float(at), width=bucket.width, rows=rows) for at, (bucket, rows) in zip(times, shapes, strict=False)]
    truth = LatencyModel(seeds, policy.max_rows)
    return simulate(Scheduler(policy, LatencyModel(seeds, policy.max_rows)), arrivals, truth.typical).goodput


def best(goodputs: Sequence[Ratio]) -> int | None:
    """Return the place of a setting that is noticeably better than the first one, the default; ``None`` where none is."""
    place = max(range(len(goodputs)), key=goodputs.__getitem__)
    return place if goodputs[place] > goodputs[0] + NOTICEABLE else None
