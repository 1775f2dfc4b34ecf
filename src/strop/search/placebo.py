"""The placebo of a run: the original against itself under another name. It gives the noise, and it must not win."""

from __future__ import annotations

from typing import Any

from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.collect import block_plan
from strop.measure.confirm import FAR_ROUND
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Comparison, Finding, Verdict
from strop.observe import Level
from strop.search.session import LEAST_ROUNDS, Session

PAIRS = 6
TYPICAL_GAIN = 4.0
"""Guess, before anything was tried, of how much faster a result starts and answers."""


def calibrate(session: Session) -> Comparison:
    """Compare the original with itself; sets the session's noise, pair time and reserve."""

    def measure() -> dict[str, Any]:
        original, placebo = session.original_and_placebo()
        plan = ScreenPlan(delta=session.request.delta, metric=session.request.metric, max_pairs=PAIRS, min_pairs=PAIRS)
        pairs = session.bench.screen("placebo", original, placebo, plan, lambda: False)
        session.bench.dismiss(placebo)
        return {"judgement": record_judgement(session.ledger, "placebo", plan, pairs, session.materials.points)}

    comparison = read_comparisons(session.ledger.step("placebo", measure)["judgement"])["all"]
    session.spread = max(0.005, comparison.evidence.get("sigma", session.spread))
    original = session.original()
    session.pair_seconds = block_plan(original.profile, original.profile).pair_seconds
    session.expect_confirm(original.seconds / TYPICAL_GAIN, session.pair_seconds, FAR_ROUND, TYPICAL_GAIN)
    session.tell(
        "baseline.measured", f"noise of a pair: {100 * session.spread:.1f} %; confirming is reserved {session.reserved:.0f} s"
    )
    return comparison


def doubt(session: Session, screened: Comparison) -> Finding | None:
    """Return what a placebo that screening found to differ says about the run; ``None`` when it found no difference.

    Two processes of one model can differ for as long as they live (where their memory came to lie). Screening takes that
    for a difference, as it does with any candidate; a claim is made from fresh processes, so the placebo gets the same chance.
    """
    if screened.verdict not in (Verdict.FASTER, Verdict.SLOWER):
        return None

    def measure() -> dict[str, Any]:
        plan = ConfirmPlan(
            delta=session.request.delta,
            alpha=session.request.alpha,
            rounds=LEAST_ROUNDS,
            pairs=FAR_ROUND,
            metric=session.request.metric,
        )
        pairs = session.bench.confirm("placebo-confirm", session.baseline, session.baseline, plan)
        return {"judgement": record_judgement(session.ledger, "placebo-confirm", plan, pairs, session.materials.points)}

    difference = f"two processes of the original differed by ×{screened.speedup.estimate:.2f} for as long as they lived"
    session.tell("warning", f"{difference}; comparing fresh ones", level=Level.WARNING)
    confirmed = read_comparisons(session.ledger.step("placebo-confirm", measure)["judgement"])["all"]
    if confirmed.verdict in (Verdict.FASTER, Verdict.SLOWER):
        return Finding(
            code="placebo-kept",
            message=f"the original under another name was confirmed {confirmed.verdict.value}, so no claim of this run can stand",
            advice="run again on a quieter machine",
        )
    return Finding(
        code="process-luck",
        message=f"{difference}; over {confirmed.rounds} fresh pairs of processes no difference was left",
        advice="screening errs by as much here; claims rest on fresh processes, and more of them narrow their interval",
    )
