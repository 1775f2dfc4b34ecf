"""The claim: pre-registered, on evaluation data that nothing has seen, and on fresh processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from strop.errors import MeasureError, WrongAnswersError
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.audit import audit
from strop.measure.collect import block_plan
from strop.measure.confirm import confirm_size
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import Guard, QualityResult
from strop.measure.result import Block, Comparison, Finding, Verdict
from strop.measure.solo import solo_finding, solo_stretch
from strop.observe import Level
from strop.search.bench import Seat
from strop.search.run import ROUNDS, least_rounds
from strop.search.session import Session
from strop.search.trials import fidelity
from strop.trial.workshop import Prepared
from strop.units import Seconds

SOLO_SECONDS: Seconds = 12.0
"""With less than this left, arms are not looked at alone; the claim does not rest on it."""

DISHONEST = frozenset({"cached-results", "timed-answers-differ", "shape-changed"})
"""Findings of the audits after which a speed is not claimed."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmed (or refuted) claim as the ledger holds it.

    Attributes:
        quality_row: judgement of the answers; ``None`` when the workload claims no quality.
        row: timing, audits, memory and starts; ``None`` when quality already refuted the claim.
    """

    quality_row: Mapping[str, Any] | None
    row: Mapping[str, Any] | None

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Operating point → confirm-phase comparison; empty when nothing was timed."""
        return read_comparisons(self.row["confirm"]) if self.row and self.row["confirm"] else {}

    @property
    def quality(self) -> QualityResult | None:
        """The guard on the confirming split; ``None`` when the workload claims no quality, or the answers cannot be judged."""
        return QualityResult.from_json(self.quality_row["result"]) if self.quality_row and "result" in self.quality_row else None

    @property
    def holds(self) -> bool:
        """Whether both parts of the claim are proven: faster, and quality kept (each at full alpha, since both must hold)."""
        return not self.problem

    @property
    def unsound(self) -> str:
        """Why the answers are not good enough, in words; empty when they are, or when no quality is claimed."""
        if self.quality_row is not None and "wrong" in self.quality_row:
            return f"wrong: {self.quality_row['wrong']}"
        if self.quality is not None and self.quality.guard is not Guard.HELD:
            return f"{self.quality.guard.value}: {self.quality.describe()}"
        return ""

    @property
    def problem(self) -> str:
        """Why it does not hold, in words; empty when it does."""
        if self.unsound:
            return self.unsound
        if self.row is None:
            return "the time ran out before the claim was measured; give a larger budget"
        if "failed" in self.row:
            return f"it failed to run: {self.row['failed']}"
        caught = [f["message"] for f in self.row["checks"] if f["code"] in DISHONEST]
        if caught:
            return f"an audit failed: {caught[0]}"
        overall = self.comparisons["all"]
        return "" if overall.verdict is Verdict.FASTER else f"confirmation says {overall.verdict.value}"


def confirm(session: Session, result: Prepared, screened: Comparison, alpha: float) -> Confirmation:
    """Register the claim "``result`` is faster than the original and as good", then test it, the answers first.

    Args:
        session: the run.
        result: the recipe the claim is about.
        screened: screening of the recipe, or of the group it grew from, against the original; sizes the rounds.
        alpha: error probability of the claim.
    """
    key = result.recipe.key
    size = confirm_size(screened.evidence["sigma"], screened.evidence["theta"], session.request.delta, session.spread)
    plan = ConfirmPlan(
        delta=session.request.delta,
        alpha=alpha,
        rounds=ROUNDS,
        least=least_rounds(session.request),
        pairs=size,
        metric=session.request.metric,
        exact=session.request.exact,
    )
    claim = {"baseline": session.baseline.recipe.key, "candidate": key, "plan": plan.to_json()}
    registered = ConfirmPlan.from_json(session.ledger.step(f"registered/{key}", lambda: claim)["plan"])
    session.tell("confirm.started", f"confirming {result.recipe}: quality on data that nothing has seen")
    quality = session.ledger.step(f"quality/{key}", lambda: _judge(session, result, registered.alpha))
    confirmation = Confirmation(quality, None)
    if quality is None or (confirmation.quality is not None and confirmation.quality.guard is Guard.HELD):
        session.tell("confirm.timing", f"confirming {result.recipe}: {ROUNDS} fresh process pairs × {registered.pairs} pairs")
        confirmation = Confirmation(quality, session.ledger.step(f"confirm/{key}", lambda: _time(session, result, registered)))
    words = confirmation.problem or "confirmed"
    session.tell("confirm.done", f"{result.recipe}: {words}", level=Level.RESULT, holds=confirmation.holds)
    return confirmation


def _judge(session: Session, result: Prepared, alpha: float) -> dict[str, Any] | None:
    """Judge the answers; also those of a recipe that was never tried, as one less its lossy part, must be sane."""
    try:
        with session.bench.opened(result, "candidate") as candidate:
            if problem := session.examiner.insane(session.original(), candidate, fidelity(result.recipe)):
                return {"wrong": problem}
            return session.examiner.examine("confirming", session.original(), candidate, alpha)
    except WrongAnswersError as error:
        return {"wrong": str(error)}
    except MeasureError as error:
        if error.arm != "candidate":
            raise
        return {"wrong": f"it failed to run: {error}"}


def _time(session: Session, result: Prepared, plan: ConfirmPlan) -> dict[str, Any] | None:
    """Take the registered pairs; ``None`` when the budget ended before enough rounds were complete: nothing is claimed."""
    try:
        return _timed(session, result, plan)
    except MeasureError as error:
        if error.arm != "candidate":
            raise
        return {"confirm": None, "failed": str(error)}


def _timed(session: Session, result: Prepared, plan: ConfirmPlan) -> dict[str, Any] | None:
    name = f"confirm/{result.recipe.key}"
    starts: list[dict[str, Any]] = []
    findings: list[Finding] = []
    tensors: dict[str, int | None] = {}
    alone: dict[str, tuple[Block, Block]] = {}

    def told(number: int, baseline: Seat, candidate: Seat) -> None:
        both = {"baseline": baseline, "candidate": candidate}
        starts.append(
            {arm: {"peak": s.arm.peak_memory().peak, "marks": dict(s.marks), "seconds": s.seconds} for arm, s in both.items()}
        )
        session.tell("confirm.round", f"round {number + 1} of {plan.rounds}", round=number + 1)
        if number == 0:
            calls = {point: profile.call_seconds for point, profile in candidate.profile.items()}
            findings.extend(audit(baseline.arm, candidate.arm, seed=session.request.seed, calls=calls))
        if number == plan.rounds - 1 and session.budget.left > SOLO_SECONDS:
            alone.update(_solo(session, baseline, candidate))
            tensors.update({arm: _tensor_peak(session, seat) for arm, seat in both.items()})

    pairs = session.bench.confirm(name, session.baseline, result, plan, told, fits=lambda seconds: session.budget.left > seconds)
    if len(pairs) < plan.needed * plan.pairs:
        return None
    judgement = record_judgement(session.ledger, name.replace("/", "-"), plan, pairs, session.materials.points)
    judged = read_comparisons(judgement)
    sensitive = [solo_finding(point, ours, theirs, judged[point].speedup.estimate) for point, (ours, theirs) in alone.items()]
    findings += [finding for finding in sensitive if finding is not None]
    return {
        "confirm": judgement,
        "checks": [{"code": f.code, "message": f.message, "advice": f.advice} for f in findings],
        "starts": starts,
        "tensors": tensors,
        "disk": {"baseline": session.baseline.size, "candidate": result.size},
    }


def _solo(session: Session, baseline: Seat, candidate: Seat) -> dict[str, tuple[Block, Block]]:
    plan = block_plan(baseline.profile, candidate.profile)
    blocks = [solo_stretch(seat.arm, seat.profile, plan, seed=session.request.seed) for seat in (baseline, candidate)]
    return {point: (blocks[0][point], blocks[1][point]) for point in plan.points}


def _tensor_peak(session: Session, seat: Seat) -> int | None:
    """Return the most bytes of tensors one call holds; ``None`` where the engine does not allocate through torch."""
    try:
        return session.bench.call(seat, "tensor_peak", {}, 120.0)  # type: ignore[no-any-return]
    except MeasureError as error:
        session.tell("warning", f"peak memory of tensors could not be read: {error}", level=Level.WARNING)
        return None
