"""One trial: an artefact is opened, checked, timed against another arm and examined. Whatever happens is a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from strop.contract.card import Fidelity
from strop.contract.recipe import Recipe
from strop.errors import MeasureError, WrongAnswersError
from strop.ledger.judgement import read_comparisons, record_judgement
from strop.measure.plan import ScreenPlan
from strop.measure.quality import Guard, QualityResult
from strop.measure.result import Comparison, Verdict
from strop.pipeline import Preparation
from strop.search.bench import Seat
from strop.search.session import Session
from strop.trial.workshop import Prepared

FAIR_CHANCE = 0.2
"""A recipe whose quality has a smaller chance to be confirmed is not carried on. Less than even odds are worth a try,
because a claim's answers are judged first and cost little, and another recipe stands behind it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished trial as the ledger holds it."""

    row: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Short name; the recipe's digest."""
        return str(self.row["key"])

    @property
    def status(self) -> str:
        """One of the words of the design."""
        return str(self.row["status"])

    @property
    def preparation(self) -> Preparation:
        """How preparing ended."""
        return Preparation.from_json(self.row["preparation"])

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Operating point → screening comparison; empty when it was never timed."""
        return read_comparisons(self.row["screen"]) if self.row["screen"] else {}

    @property
    def speedup(self) -> float:
        """Screening estimate over all points; 0 when it was never timed."""
        return self.comparisons["all"].speedup.estimate if self.row["screen"] else 0.0

    @property
    def quality(self) -> QualityResult | None:
        """Screening guard."""
        return QualityResult.from_json(self.row["quality"]["result"]) if self.row["quality"] else None


def run_trial(session: Session, prepared: Prepared, against: Seat, *, delta: float, name: str = "") -> tuple[Trial, Seat | None]:
    """Try a prepared recipe against an arm; a trial already in the ledger is not repeated.

    Returns:
        The trial, and its arm still alive if it is worth keeping (faster, and sound), else ``None``.
    """
    recipe = prepared.recipe
    key = f"trial/{against.prepared.recipe.key}/{name or recipe.key}"
    alive: list[Seat] = []
    row = session.ledger.step(key, lambda: _attempt(session, prepared, against, delta, key, alive))
    trial = Trial(row)
    session.tell_trial(trial.row)
    if alive and trial.status != "faster":
        session.bench.dismiss(alive.pop())
    return trial, (alive[0] if alive else None)


def _attempt(session: Session, prepared: Prepared, against: Seat, delta: float, key: str, alive: list[Seat]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "key": prepared.recipe.key,
        "recipe": prepared.recipe.to_json(),
        "text": str(prepared.recipe),
        "against": against.prepared.recipe.key,
        "seconds": prepared.seconds,
        "preparation": prepared.preparation.to_json(),
        "screen": None,
        "quality": None,
    }
    if not prepared.ready:
        return {**row, "status": prepared.preparation.outcome.value, "reason": prepared.preparation.reason}
    try:
        seat = session.bench.seat(prepared, "candidate")
        alive.append(seat)
        problem = session.examiner.insane(session.original(), seat, fidelity(prepared.recipe))
        if problem:
            return {**row, "status": "wrong", "reason": problem}
        plan = ScreenPlan(delta=delta, metric=session.request.metric, spread=session.spread)
        pairs = session.bench.screen(key, against, seat, plan, session.out_of_time)
        row["screen"] = record_judgement(session.ledger, key.replace("/", "-"), plan, pairs, session.materials.points)
        overall = read_comparisons(row["screen"])["all"]
        if overall.verdict is not Verdict.FASTER:
            return {**row, "status": overall.verdict.value, "reason": ""}
        row["quality"] = session.examiner.examine("screening", session.original(), seat)
    except WrongAnswersError as error:
        return {**row, "status": "wrong", "reason": str(error)}
    except MeasureError as error:
        return {**row, "status": "failed to run", "reason": str(error)}
    status, reason = _quality_status(session, row["quality"])
    return {**row, "status": status, "reason": reason}


def _quality_status(session: Session, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """Refuse early what cannot be confirmed; the confirming data alone can accept."""
    if record is None:
        return "faster", ""
    result = QualityResult.from_json(record["result"])
    if result.guard is Guard.BROKEN:
        return "worse quality", result.describe()
    chance = session.chance_to_confirm(result, session.request.alpha)
    if chance < FAIR_CHANCE:
        return "unproven quality", f"{result.describe()}; the confirming data would show it with a chance of {100 * chance:.0f} %"
    return "faster", ""


def fidelity(recipe: Recipe) -> Fidelity:
    """The worst fidelity of the recipe's instructions, with their settings."""
    return max((i.fidelity for i in recipe), default=Fidelity.EXACT)
