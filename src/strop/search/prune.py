"""Take each part of a stack out again: what no longer pays is dropped, and the rest is the ablation table."""

from __future__ import annotations

from strop.search.proposals import removals
from strop.search.session import Session
from strop.search.trials import Trial, run_trial
from strop.trial.workshop import Prepared
from strop.units import Seconds

PRUNE_SECONDS: Seconds = 20.0
"""Preparing a stack without one of its parts, and screening it."""


def prune(session: Session, whole: Prepared) -> tuple[Prepared, list[tuple[str, Trial]]]:
    """Take each removable instruction out and see whether the stack gets slower; what does not pay is dropped.

    Returns:
        The stack that remains, and for each instruction the trial of the stack without it.
    """
    table: list[tuple[str, Trial]] = []
    for instruction, rest in removals(whole.recipe, session.workload.traits):
        if not session.budget.allows(PRUNE_SECONDS, session.reserved):
            break
        (prepared,) = session.prepare([rest])
        if not prepared.ready:
            continue
        with session.bench.seated(prepared, "baseline") as without:
            trial, seat = run_trial(session, whole, without, delta=0.0)
        if seat is not None:
            session.bench.dismiss(seat)
        table.append((instruction.name, trial))
        if trial.status in ("no worthwhile gain", "slower") and not instruction.card.pinned:
            return prune(session, prepared)
    return whole, table
