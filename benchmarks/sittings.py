"""How far does a speed-up move from one sitting to the next, beyond what its own rounds show?

    python benchmarks/sittings.py runs/minilm runs/lite0 --times 6 --pause 5m

Measures the claim of every run again, taking turns and pausing between, and reads it together with the reruns that lie
beside it (``RUN-rerun-N``). Every claim is one sitting. The spread between sittings, less what the spread between rounds
explains, is what time does to the machine; :func:`strop.measure.confirm.rerun_interval` allows for it. Printed for every
operating point, over all of them as a part of the time that the recipes save, and how often each sitting lay where each
other one predicts it. ``--times 0`` only reads.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import permutations
from pathlib import Path

import numpy as np

import strop
from strop.api.record import Record
from strop.api.rerun import Agreement
from strop.catalogue import read_recipe
from strop.ledger.judgement import read_comparisons
from strop.measure.confirm import DRIFT, drift, rerun_interval
from strop.measure.result import Comparison
from strop.units import parse_seconds

Sittings = dict[str, list[Comparison]]


def main() -> None:
    """Measure, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=0, help="further reruns of each (default: none)")
    parser.add_argument("--pause", type=parse_seconds, default=0.0, help="between them, for instance 5m (default: none)")
    chosen = parser.parse_args()
    for sitting in range(chosen.times):
        for run in chosen.runs:
            time.sleep(chosen.pause if sitting else 0.0)
            print(f"sitting {sitting + 1} of {chosen.times}: {run}", flush=True)
            strop.rerun(run)
    groups = {f"{run.name}, {point}": rows for run in chosen.runs for point, rows in sittings(run).items()}
    show({name: rows for name, rows in groups.items() if len(rows) > 1} or parser.error("no rerun lies beside; give --times 2"))


def sittings(run: Path) -> Sittings:
    """Return operating point → the claim and its reruns. With one point, ``all`` says the same and is left out."""
    found: Sittings = {}
    key = f"confirm/{read_recipe(run / 'recipe.yaml').key}"
    for folder in (run, *sorted(run.parent.glob(f"{run.name}-rerun-*"))):
        claim = Record.read(folder).result(key)
        for point, comparison in read_comparisons(claim.get("confirm", claim)).items():
            found.setdefault(point, []).append(comparison)
    return {point: rows for point, rows in found.items() if point != "all" or len(found) > 2}


def spread(rows: list[Comparison]) -> tuple[float, float]:
    """Return the mean of ``ln(candidate / baseline)`` and its variance between sittings beyond what the rounds explain."""
    thetas = np.array([row.evidence["theta"] for row in rows])
    noise = np.mean([row.evidence["s"] ** 2 / row.rounds for row in rows])
    return float(thetas.mean()), float(thetas.var(ddof=1) - noise)


def show(groups: Sittings) -> None:
    """Print the table, the pooled part and how often predictions held."""
    held: list[bool] = []
    above, below = 0.0, 0.0
    print(f"\n{'claim':40s} {'sittings':>8s} {'speed-up':>8s} {'between':>8s} {'predicted':>10s}")
    for name, rows in groups.items():
        theta, between = spread(rows)
        inside = [
            Agreement(point=name, then=then, now=now, expected=rerun_interval(then, now.rounds)).inside
            for then, now in permutations(rows, 2)
        ]
        if not name.endswith(", all"):
            above, below = above + (len(rows) - 1) * between, below + (len(rows) - 1) * (drift(theta) / DRIFT) ** 2
        held += inside
        print(f"{name:40s} {len(rows):8d} {math.exp(-theta):8.2f} {math.sqrt(max(between, 0)):8.3f} {np.mean(inside):10.0%}")
    print(f"\nbetween sittings, as a part of the time saved: {math.sqrt(max(above, 0) / below):.1%}")
    print(f"sittings that lay where another predicts them (of 95 %): {np.mean(held):.1%} of {len(held)}")


if __name__ == "__main__":
    main()
