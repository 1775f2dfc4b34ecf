"""The placebo of a run, the baseline against itself under another name, must not win."""

from __future__ import annotations

from typing import Any

from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.confirm import FAR_ROUND
from strop.measure.plan import ConfirmPlan
from strop.measure.result import Comparison, Finding, Verdict
from strop.observe import Level
from strop.search.run import LEAST_ROUNDS, Run
from strop.units import Ratio

PLACEBO_KEPT = "placebo-kept"
"""Code of the finding after which nothing of a run is claimed."""
ASIDE: Ratio = 0.25
"""Share of the time beside the reserve that comparing fresh processes may take: in the rest recipes are tried, and what is
claimed rests on fresh processes of its own."""


def doubt(run: Run, screened: Comparison) -> Finding | None:
    """Return what a placebo that screening found to differ says about the run; ``None`` when it found no difference.

    Two processes of one model can differ for as long as they live (where their memory came to lie). Screening takes that
    for a difference, as it does with any candidate; a claim is made from fresh processes, so the placebo gets the same chance,
    where the budget holds fresh ones for both and time to try something.
    """
    if screened.verdict not in (Verdict.FASTER, Verdict.SLOWER):
        return None

    def measure() -> dict[str, Any]:
        plan = ConfirmPlan(
            delta=run.request.delta,
            alpha=run.request.alpha,
            rounds=LEAST_ROUNDS,
            pairs=FAR_ROUND,
            metric=run.request.metric,
        )
        pairs = run.bench.confirm("placebo-confirm", run.baseline, run.baseline, plan)
        return {"judgement": record_judgement(run.ledger, "placebo-confirm", plan, pairs, run.bench.points)}

    difference = f"two processes of the original differed by ×{screened.speedup.estimate:.2f} for as long as they lived"
    needed, spare = LEAST_ROUNDS * (2 * run.original().seconds + FAR_ROUND * run.pair_seconds), run.budget.left - run.reserved
    if not run.ledger.done("placebo-confirm") and needed > ASIDE * spare:
        return Finding(
            code="process-luck",
            message=f"{difference}; whether that was luck, fresh ones would show in about {needed:.0f} s, too much of the budget",
            advice="screening errs by as much here; claims rest on fresh processes. Give a longer budget, or a quieter machine",
        )
    run.tell("warning", f"{difference}; comparing fresh ones", level=Level.WARNING)
    confirmed = read_comparisons(run.ledger.step("placebo-confirm", measure)["judgement"])["all"]
    if confirmed.verdict in (Verdict.FASTER, Verdict.SLOWER):
        return Finding(
            code=PLACEBO_KEPT,
            message=f"the original under another name was confirmed {confirmed.verdict.value}, so no claim of this run can stand",
            advice="run again on a quieter machine",
        )
    return Finding(
        code="process-luck",
        message=f"{difference}; over {confirmed.rounds} fresh pairs of processes no difference was left",
        advice="screening errs by as much here; claims rest on fresh processes, and more of them narrow their interval",
    )
