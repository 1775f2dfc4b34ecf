"""How often is a change that changes nothing called faster? strop beside five common rules, on the same samples.

    python benchmarks/error_rates.py --out docs/error-rates

Every trial takes 120 consecutive block times of a source: a family of simulated noise, or a recorded trace. The common
rules get them as a script would, 60 of the baseline and then 60 of the candidate, each arm one process. strop gets the
same 120 blocks as 60 pairs whose order a coin decides: screening stops when its evidence decides, confirmation uses
five rounds of 12 pairs, each round a fresh pair of processes. Writes ``<out>.json`` and ``<out>.md``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from strop.measure.confirm import proven_by
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.proportions import lower_share, upper_share
from strop.measure.ratios import FloatArray, spread
from strop.testing.noise import families
from strop.testing.replay import Source, confirm_rows, confirm_trials, count, load_trace, ratios, screen_rows, screen_trials

PER_ARM, ROUNDS = 60, 5
SCREEN = ScreenPlan()
CLAIM = ConfirmPlan(rounds=ROUNDS, pairs=PER_ARM // ROUNDS)
TRACES = Path(__file__).parents[1] / "tests" / "data" / "traces"
RECORDED_BLOCKS_PER_SLOT = 5
"""Traces hold blocks of about 10 ms; strop measures blocks of about 50 ms."""

BoolArray = npt.NDArray[np.bool_]
Rule = Callable[[FloatArray, FloatArray], BoolArray]


def welch(baseline: FloatArray, candidate: FloatArray) -> BoolArray:
    """Return whether a two-sample t-test finds the candidate's mean time lower at p < 0.05."""
    found = stats.ttest_ind(candidate, baseline, axis=1, equal_var=False)
    return np.asarray((found.pvalue < 0.05) & (found.statistic < 0))


def mann_whitney(baseline: FloatArray, candidate: FloatArray) -> BoolArray:
    """Return whether a Mann-Whitney test finds the candidate's times lower at p < 0.05."""
    found = stats.mannwhitneyu(candidate, baseline, axis=1, method="asymptotic")
    return np.asarray((found.pvalue < 0.05) & (found.statistic < PER_ARM**2 / 2))


RULES: dict[str, Rule] = {
    "lowest single timing": lambda b, c: c.min(axis=1) < b.min(axis=1),
    "mean ≥ 1.0×": lambda b, c: c.mean(axis=1) <= b.mean(axis=1),
    "two-sample t": welch,
    "Mann–Whitney": mann_whitney,
    "mean > 2 %": lambda b, c: b.mean(axis=1) / c.mean(axis=1) > 1.02,
}


def false_faster(source: Source, trials: int, seed: int) -> dict[str, int]:
    """Return, of ``trials`` trials in which nothing changed, how many each procedure called faster."""
    generator = np.random.default_rng(seed)
    slots = source.slots(generator, trials, 2 * PER_ARM)
    luck = generator.normal(0.0, source.luck, (2, trials, ROUNDS, 1))
    pairs = slots.reshape(trials, PER_ARM, 2)
    signs = np.where(generator.random((trials, PER_ARM)) < 0.5, 1.0, -1.0)
    y = signs * (pairs[..., 1] - pairs[..., 0])
    screened = screen_rows((y + luck[1, :, 0] - luck[0, :, 0])[:, : SCREEN.max_pairs], SCREEN)
    confirmed = confirm_rows(y.reshape(trials, ROUNDS, -1) + luck[1] - luck[0], CLAIM)
    first = np.exp(slots[:, :PER_ARM] + luck[0, :, 0])
    second = np.exp(slots[:, PER_ARM:] + luck[1, :, 0])
    return {
        "strop screen": count([decision.verdict for decision in screened]),
        "strop confirm": count([proven_by(found, CLAIM) for found in confirmed]),
        **{name: int(np.sum(rule(first, second))) for name, rule in RULES.items()},
    }


def power(source: Source, trials: int, seed: int) -> dict[str, float]:
    """Return shares of true gains found, pairs they took, the rate at the edge of the claim, and the A/A spread."""
    plan = ConfirmPlan()
    row: dict[str, float] = {"aa_spread": spread(ratios(source, np.random.default_rng(seed), trials, 40).ravel())}
    row["edge"] = count([proven_by(found, plan) for found in confirm_trials(source, plan, -math.log(1.02), trials, seed + 1)])
    for gain in (5, 10):
        theta = -math.log1p(gain / 100)
        decisions = screen_trials(source, SCREEN, theta, trials, seed + gain)
        row[f"screen_{gain}"] = count([decision.verdict for decision in decisions]) / trials
        row[f"pairs_{gain}"] = float(np.median([decision.pairs for decision in decisions]))
        found = confirm_trials(source, plan, theta, trials, seed + gain)
        row[f"confirm_{gain}"] = count([proven_by(one, plan) for one in found]) / trials
    return row


def sources() -> list[Source]:
    """Return the families and the recorded traces."""
    paths = sorted(TRACES.glob("*.npz"))
    traces = [load_trace(path, group=RECORDED_BLOCKS_PER_SLOT, voiding=voiding) for path in paths for voiding in (False, True)]
    return [*families(), *traces]


def markdown(rows: dict[str, dict[str, Any]], trials: int) -> str:
    """Return both tables."""
    procedures = list(next(iter(rows.values()))["false_faster"])
    low, high = lower_share(0, trials, 0.025), upper_share(0, trials, 0.025)
    none = f"0 of {trials}: 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    lines = [
        f"P(called faster) where nothing changed, {trials} trials of 120 blocks for each row ({none}):",
        "",
        "| noise | " + " | ".join(procedures) + " |",
        "|---|" + "---|" * len(procedures),
    ]
    for name, row in rows.items():
        shares = (f"{100 * row['false_faster'][procedure] / trials:.1f} %" for procedure in procedures)
        lines.append(f"| {name} | " + " | ".join(shares) + " |")
    legend = "pairs: median until screening stops; at edge: confirmed although the true gain is exactly 2 %"
    columns = "noise | A/A spread of a pair | at edge | screen 5 % | pairs | screen 10 % | pairs | confirm 5 % | confirm 10 %"
    lines += [
        "",
        f"True gains found (smallest worthwhile gain 2 %; confirmation: 5 rounds of 16 pairs; {legend}):",
        "",
        f"| {columns} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        p = row["power"]
        cells = [f"{100 * p['aa_spread']:.1f} %", f"{100 * p['edge'] / trials:.1f} %"]
        for gain in (5, 10):
            cells += [f"{100 * p[f'screen_{gain}']:.1f} %", f"{p[f'pairs_{gain}']:.0f}"]
        cells += [f"{100 * p[f'confirm_{gain}']:.1f} %" for gain in (5, 10)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every trial and write the tables."""
    parser = argparse.ArgumentParser(description="False 'faster' rates of strop and of five common rules on the same samples.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write <out>.json and <out>.md")
    args = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    for source in sources():
        rows[source.name] = {
            "false_faster": false_faster(source, args.trials, args.seed),
            "power": power(source, args.trials, args.seed),
        }
        print(f"{source.name}: done", flush=True)
    text = markdown(rows, args.trials)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"trials": args.trials, "seed": args.seed, "delta": CLAIM.delta, "alpha": CLAIM.alpha, "rows": rows}
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
