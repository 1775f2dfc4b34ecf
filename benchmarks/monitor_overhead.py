"""What does watching a training cost? Instruction 13 against the same training without it, on fresh processes in pairs.

    python benchmarks/monitor_overhead.py --out runs/monitor
    python benchmarks/monitor_overhead.py --workload examples/minilm_finetune/train.py --rounds 5 --pairs 6 --out runs/monitor

The arms are strop's own: child processes that take four optimizer steps a block, one parked while the other runs, in
coin order. The interval is over rounds of fresh processes: seven of them, each with as many pairs as make its own error
small beside the difference between processes, fit into four minutes of a quiet machine with two cores. The workload is the
fine-tuning of MiniLM in batches of 4 unless another is named: steps so short that watching them costs most. Writes
``result.json`` and prints one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import strop
from strop.contract.recipe import Recipe
from strop.instructions.training.i13_numeric_stability_monitor import NumericStabilityMonitor
from strop.measure.arm import Arm
from strop.measure.collect import BlockPlan, block_plan, profile, take_pair
from strop.measure.host import read_host
from strop.measure.judge import judge_confirm
from strop.measure.plan import ConfirmPlan
from strop.measure.result import Pair
from strop.measure.timing import WarmRule
from strop.trial.reference import parse_reference
from strop.trial.training import Planned, TrainingShop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples.minilm_finetune import train as example


def workload() -> strop.TrainingWorkload:
    """MiniLM in batches of 4, nothing evaluated."""
    return dataclasses.replace(
        example.workload(), batch_size=4, metric=strop.unjudged("speed only"), screening=strop.Split(inputs=()),
        confirming=strop.Split(inputs=()),
    )  # fmt: skip


def measure(reference: str, plan: ConfirmPlan, folder: Path) -> dict[str, object]:
    """Take the planned pairs and judge them.

    Args:
        reference: to a training workload.
        plan: rounds and pairs.
        folder: receives the arms' output.
    """
    shop = TrainingShop(reference=parse_reference(reference), host=read_host(), seed=0)
    arms = {"baseline": Recipe(), "candidate": Recipe([NumericStabilityMonitor()])}
    pairs: list[Pair] = []
    points: tuple[str, ...] = ()
    blocks: BlockPlan | None = None  # how an arm re-warms does not change between its processes: one look serves all rounds
    for number in range(plan.rounds):
        specs = [shop.arm(Planned(recipe), name) for name, recipe in arms.items()]
        logs = [folder / f"{spec.name}-{number}.log" for spec in specs]
        with (
            Arm.start(specs[0], seed=10 + number, log=logs[0]) as plain,
            Arm.start(specs[1], seed=20 + number, log=logs[1]) as watched,
        ):
            with ThreadPoolExecutor(2) as both:
                list(both.map(Arm.load, (plain, watched)))
            for one in (plain, watched):
                one.warm(rule=WarmRule(max_seconds=2.0))
            points, blocks = tuple(plain.points), blocks or block_plan(profile(plain), profile(watched))
            for _ in range(plan.pairs):
                pairs.append(take_pair(plain, watched, blocks, seed=0, comparison="monitor", index=len(pairs), round=number))
            counted = watched.call("told")["tallies"]
    return {**judge_confirm(pairs, plan, points)["all"].to_json(), "counted": counted}


def main() -> None:
    """Measure, print the line, write ``result.json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workload", default=f"{Path(__file__)}:workload")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=16)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result = measure(options.workload, ConfirmPlan(delta=0.0, rounds=options.rounds, pairs=options.pairs), options.out)
    (options.out / "result.json").write_text(json.dumps(result, indent=1))
    speedup = result["speedup"]
    assert isinstance(speedup, dict)
    low, middle, high = (100 * (1 / speedup[bound] - 1) for bound in ("high", "estimate", "low"))
    print(f"watching costs {middle:+.1f} % of a step [{low:+.1f}, {high:+.1f}]; counted: {result['counted']}")


if __name__ == "__main__":
    main()
