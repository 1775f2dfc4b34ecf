"""Take each part of a stack out again: what no longer pays is dropped, and the rest is the ablation table."""

from __future__ import annotations

from typing import Any

from strop import catalogue
from strop.errors import MeasureError
from strop.observe import Level
from strop.search.proposals import removals
from strop.search.session import Session
from strop.search.trials import Trial, run_trial
from strop.trial.workshop import Prepared
from strop.units import Seconds

PRUNE_SECONDS: Seconds = 20.0
"""Preparing a stack without one of its parts, and screening it."""


def prune(session: Session, whole: Prepared) -> tuple[Prepared, list[tuple[str, Trial]]]:
    """Take each removable instruction out and see whether the stack gets slower; what does not pay is dropped.

    What remains is put on record: a later sitting with less time left claims the same.

    Returns:
        The stack that remains, and for each instruction the trial of the stack without it.
    """

    def look() -> dict[str, Any]:
        rest, table = _without_idle(session, whole)
        return {"recipe": rest.recipe.to_json(), "table": [[name, trial.row] for name, trial in table]}

    row = session.ledger.step(f"pruned/{whole.recipe.key}", look)
    recipe = catalogue.recipe_from_json(row["recipe"])
    (rest,) = [whole] if recipe == whole.recipe else session.prepare([recipe])
    return rest, [(name, Trial(trial)) for name, trial in row["table"]]


def _without_idle(session: Session, whole: Prepared) -> tuple[Prepared, list[tuple[str, Trial]]]:
    table: list[tuple[str, Trial]] = []
    for instruction, rest in removals(whole.recipe, session.workload.traits):
        if not session.budget.allows(PRUNE_SECONDS, session.reserved):
            break
        (prepared,) = session.prepare([rest])
        if not prepared.ready:
            continue
        try:
            with session.bench.seated(prepared, "baseline") as without:
                trial, seat = run_trial(session, whole, without, delta=0.0)
        except MeasureError as error:  # it may never have run before; the stack stands without it
            session.tell("warning", f"{rest} cannot be run beside {whole.recipe}: {error}", level=Level.WARNING)
            continue
        if seat is not None:
            session.bench.dismiss(seat)
        table.append((instruction.name, trial))
        if trial.status in ("no worthwhile gain", "slower") and not instruction.card.pinned:
            return _without_idle(session, prepared)
    return whole, table
