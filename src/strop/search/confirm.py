"""The claim: pre-registered, on fresh processes, with evaluation data that nothing has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.confirm import confirm_size
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import Guard, QualityResult
from strop.measure.result import Comparison, Verdict
from strop.observe import Level
from strop.search.bench import Seat
from strop.search.session import ROUNDS, Session
from strop.trial.workshop import Prepared


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmed (or refuted) claim as the ledger holds it."""

    row: Mapping[str, Any]

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Operating point → confirm-phase comparison."""
        return read_comparisons(self.row["confirm"])

    @property
    def quality(self) -> QualityResult | None:
        """The guard on the confirming split; ``None`` when the workload claims no quality."""
        return QualityResult.from_json(self.row["quality"]["result"]) if self.row["quality"] else None

    @property
    def holds(self) -> bool:
        """Whether both parts of the claim are proven: faster, and quality kept (each at full alpha, since both must hold)."""
        kept = self.row["quality"] is None or (self.quality is not None and self.quality.guard is Guard.HELD)
        return self.comparisons["all"].verdict is Verdict.FASTER and kept

    @property
    def problem(self) -> str:
        """Why it does not hold, in words; empty when it does."""
        overall, quality = self.comparisons["all"], self.quality
        if overall.verdict is not Verdict.FASTER:
            return f"confirmation says {overall.verdict.value}"
        return "" if self.holds or quality is None else f"{quality.guard.value}: {quality.describe()}"


def confirm(session: Session, result: Prepared, screened: Comparison, alpha: float) -> Confirmation:
    """Register the claim "``result`` is faster than the original and as good", then test it.

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
        pairs=size,
        metric=session.request.metric,
        exact=session.request.exact,
    )
    claim = {"baseline": session.baseline.recipe.key, "candidate": key, "plan": plan.to_json()}
    session.ledger.step(f"registered/{key}", lambda: claim)
    registered = ConfirmPlan.from_json(session.ledger.step(f"registered/{key}", lambda: claim)["plan"])
    session.tell("confirm.started", f"confirming {result.recipe}: {ROUNDS} fresh process pairs × {registered.pairs} pairs")
    row = session.ledger.step(f"confirm/{key}", lambda: _test(session, result, registered))
    confirmation = Confirmation(row)
    words = confirmation.problem or "confirmed"
    session.tell("confirm.done", f"{result.recipe}: {words}", level=Level.RESULT, holds=confirmation.holds)
    return confirmation


def _test(session: Session, result: Prepared, plan: ConfirmPlan) -> dict[str, Any]:
    name = f"confirm/{result.recipe.key}"
    starts: list[dict[str, Any]] = []
    quality: list[dict[str, Any] | None] = []

    def told(number: int, baseline: Seat, candidate: Seat) -> None:
        both = {"baseline": baseline, "candidate": candidate}
        starts.append({arm: {"peak": s.arm.peak_memory().peak, "marks": dict(s.marks)} for arm, s in both.items()})
        if number == 0:
            quality.append(session.examiner.examine("confirming", baseline, candidate))
        session.tell("confirm.round", f"round {number + 1} of {plan.rounds}", round=number + 1)

    pairs = session.bench.confirm(name, session.baseline, result, plan, told)
    return {
        "confirm": record_judgement(session.ledger, name.replace("/", "-"), plan, pairs, session.materials.points),
        "quality": quality[0],
        "starts": starts,
        "disk": {"baseline": session.baseline.size, "candidate": result.size},
    }
