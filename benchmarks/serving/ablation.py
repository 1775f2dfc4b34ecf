"""Which rules of the scheduler pay? The scheduler that serves, in virtual time, with one rule taken away at a time.

    python benchmarks/serving/ablation.py [--seconds 30] [--seeds 3] [--loads 1.3,2] [--bursts 1,8]

Prints goodput (answered within the objective / all sent) per scenario, arrival pattern and load, and the 99th percentile
of answered requests as a share of the objective.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from strop.serve.latency import LatencyModel, Seed
from strop.serve.pace import Pace
from strop.serve.policy import Policy
from strop.serve.request import Bucket
from strop.serve.scheduler import Scheduler
from strop.serve.simulate import Arrival, Engine, Simulated, simulate
from strop.units import Ratio, Seconds

LOADS = (0.1, 0.8, 0.95, 1.1, 1.3, 2.0)
WIDTHS = (8, 16, 32, 64, 128)
NOISE = 0.06


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """An engine: ``fixed + each * rows * width`` seconds, with log-normal noise; ``wrong`` is how far the seeds are off."""

    name: str
    fixed: Seconds
    each: Seconds
    objective: Seconds
    executors: int = 1
    widths: tuple[int, ...] = (1,)
    wrong: Ratio = 1.0

    def seconds(self, width: int, rows: int) -> Seconds:
        """Return the true median time of a batch."""
        return self.fixed + self.each * width * rows

    def capacity(self) -> float:
        """Return the rows per second of the best batches that take half the objective."""
        width = statistics.mean(self.widths)
        most = max(1, min(64, int((self.objective / 2 - self.fixed) / (self.each * width))))
        return self.executors * most / self.seconds(1, round(most * width))

    def seeds(self) -> list[Seed]:
        """Return what was measured beforehand."""
        return [Seed(width=w, rows=rows, seconds=self.wrong * self.seconds(w, rows)) for w in self.widths for rows in (1, 8, 64)]


SCENARIOS = (
    Scenario(name="G 8+0.25b, 50 ms", fixed=8e-3, each=0.25e-3, objective=50e-3),
    Scenario(name="C 1+4b, 100 ms", fixed=1e-3, each=4e-3, objective=100e-3),
    Scenario(name="S 20+2b, 100 ms", fixed=20e-3, each=2e-3, objective=100e-3),
    Scenario(name="M 2×(5+1b), 60 ms", fixed=5e-3, each=1e-3, objective=60e-3, executors=2),
    Scenario(name="C, seeds ×0.5", fixed=1e-3, each=4e-3, objective=100e-3, wrong=0.5),
    Scenario(name="C, seeds ×2", fixed=1e-3, each=4e-3, objective=100e-3, wrong=2.0),
    Scenario(name="lengths 8…128", fixed=2e-3, each=4e-5, objective=100e-3, widths=WIDTHS),
)


def poisson(rate: float, seconds: Seconds, burst: int, draw: random.Random) -> Iterator[Seconds]:
    """Yield times of arrival; ``burst`` requests come at once."""
    now = 0.0
    while (now := now + draw.expovariate(rate / burst)) < seconds:
        yield from [now] * burst


class Unlearning(LatencyModel):
    """Believes what it was told at first."""

    def observe(self, width: int, rows: int, seconds: Seconds, now: Seconds = 0.0) -> Ratio:
        """Learn nothing."""
        return seconds / self.typical(width, rows)


class Deaf(Pace):
    """Hears of nothing that comes."""

    def count(self, now: Seconds, bucket: Bucket, rows: int) -> None:
        """Take no note."""


VARIANTS: dict[str, tuple[type[LatencyModel], dict[str, Any]]] = {
    "all": (LatencyModel, {}),
    "-admission": (LatencyModel, {"admission": False}),
    "-early drop": (LatencyModel, {"early_drop": False}),
    "-both": (LatencyModel, {"admission": False, "early_drop": False}),
    "-learning": (Unlearning, {}),
    "-pace": (LatencyModel, {}),
    "-guard": (LatencyModel, {"guard": 0.0}),
    "-buckets": (LatencyModel, {}),
}


def run(scenario: Scenario, variant: str, load: float, burst: int, seconds: Seconds, seed: int) -> Simulated:
    """Serve one schedule."""
    model, changes = VARIANTS[variant]
    draw, noise = random.Random(f"{seed}/{load}/{burst}"), random.Random(f"noise/{seed}")
    widths = scenario.widths if variant != "-buckets" else scenario.widths[-1:]
    arrivals = [
        Arrival(at=at, width=draw.choice(scenario.widths) if variant != "-buckets" else widths[0])
        for at in poisson(load * scenario.capacity(), seconds, burst, draw)
    ]
    policy = replace(Policy(objective=scenario.objective, executors=scenario.executors), **changes)
    engine: Engine = lambda width, rows: scenario.seconds(width, rows) * noise.lognormvariate(0, NOISE)  # noqa: E731
    scheduler = Scheduler(policy, model(scenario.seeds(), policy.max_rows))
    if variant == "-pace":
        scheduler.pace = Deaf()
    result = simulate(scheduler, arrivals, engine)
    if scheduler.accounts.unaccounted or scheduler.accounts.open:
        raise SystemExit(f"requests were lost: {scheduler.accounts.__dict__}")
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--loads", default=",".join(map(str, LOADS)))
    parser.add_argument("--bursts", default="1,8", help="requests that come at once; 1: Poisson")
    options = parser.parse_args()
    loads = [float(load) for load in options.loads.split(",")]
    mean: Callable[[list[float]], float] = statistics.fmean
    for burst in map(int, options.bursts.split(",")):
        for scenario in SCENARIOS:
            print(f"\n{scenario.name}, " + ("Poisson" if burst == 1 else f"bursts of {burst}"))
            print(f"{'':>14}" + "".join(f"{load:>16g}" for load in loads))
            for variant in VARIANTS:
                cells = []
                for load in loads:
                    runs = [run(scenario, variant, load, burst, options.seconds, seed) for seed in range(options.seeds)]
                    good = mean([r.goodput for r in runs]) / min(1.0, 1 / load)
                    late = mean([r.quantile(0.99) for r in runs]) / scenario.objective
                    p50 = mean([r.quantile(0.5) for r in runs])
                    cells.append(f"{100 * good:5.1f} {late:4.2f} {1e3 * p50:4.0f}")
                print(f"{variant:>14}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
