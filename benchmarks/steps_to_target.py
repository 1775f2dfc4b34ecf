"""After how many steps is a training as good as another one ends? Two recipes from the same seeds, looked at on their way.

    python benchmarks/steps_to_target.py with.yaml --against without.yaml --out runs/steps
    python benchmarks/steps_to_target.py with.yaml --against without.yaml --seeds 5 --every 5 --out runs/steps

The target of a seed is the metric that the other recipe ends with on the screening split, less ``--margin``; both recipes
are searched for the first look that reaches it. Steps are counts, so other work on the machine changes nothing. Writes
``looks.json`` and prints a table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from strop.catalogue import read_recipe
from strop.contract.recipe import Recipe
from strop.contract.workload import TrainingWorkload
from strop.errors import StropError
from strop.loop.evaluate import evaluate
from strop.loop.loop import TrainingLoop
from strop.loop.ranks import device
from strop.loop.state import own_random_numbers
from strop.measure.host import read_host
from strop.measure.reach import Look, reached
from strop.pipeline import Outcome, train
from strop.trial.reference import parse_reference
from strop.trial.training import training_draft

EXAMPLE = "examples/minilm_finetune/train.py"


def course(workload: TrainingWorkload, recipe: Recipe, seed: int, every: int) -> list[Look]:
    """Train from beginning to end, and look at the screening split after every so many steps and at the end."""
    looks: list[Look] = []
    draft = training_draft(workload, seed)

    def run(loop: TrainingLoop) -> None:
        while loop.step < loop.total and not loop.stopped:
            loop.run(min(every, loop.total - loop.step))
            metric = evaluate(loop, workload.metric, workload.screening)
            looks.append(Look(step=loop.step, seconds=0.0, loss=float(loop.step_loss), metric=metric))

    with own_random_numbers(seed):
        done = train(draft, recipe, read_host(accelerators=True), run=run, device=device())
    if done.outcome is not Outcome.PREPARED:
        raise StropError(f"{recipe}: {done.outcome.value}: {done.reason}")
    return looks


def main() -> int:
    """Train by both recipes from each seed, keep the looks, print when each was there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--against", type=Path, required=True, help="the recipe whose end is the target")
    parser.add_argument("--workload", default=EXAMPLE)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=5, help="steps between two looks")
    parser.add_argument("--margin", type=float, default=0.01, help="of the metric, that counts as equally good")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if min(asked.seeds, asked.every) < 1:
        parser.error("--seeds and --every are counted from 1")
    try:
        workload = parse_reference(asked.workload).load_training()
        if workload.metric.unjudged:
            parser.error(f"{asked.workload} has no metric, so nothing can be reached")
        recipes = {"against": read_recipe(asked.against), "recipe": read_recipe(asked.recipe)}
        found = {name: [course(workload, r, seed, asked.every) for seed in range(asked.seeds)] for name, r in recipes.items()}
    except StropError as error:
        print(error, file=sys.stderr)
        return 1
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = {name: [[look.to_json() for look in looks] for looks in seeds] for name, seeds in found.items()}
    (asked.out / "looks.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"| seed | target {workload.metric.name} | {asked.against.stem}: steps | {asked.recipe.stem}: steps | ends |")
    print("|---|---|---|---|---|")
    for seed, (plain, changed) in enumerate(zip(found["against"], found["recipe"], strict=True)):
        one = reached(plain, changed, margin=asked.margin, higher_is_better=workload.metric.higher_is_better)
        there = one.candidate.step if one.candidate is not None else "never"
        ends = f"{plain[-1].metric:.4g} → {changed[-1].metric:.4g}"
        print(f"| {seed} | {one.target:.4g} | {one.baseline.step} | {there} | {ends} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
