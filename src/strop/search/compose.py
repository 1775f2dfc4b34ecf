"""Build on the leader: each addition is tested directly against the current stack."""

from __future__ import annotations

from strop.contract.instruction import Instruction
from strop.search.bench import Seat
from strop.search.proposals import additions, removals, variants
from strop.search.race import Standing, expected_seconds
from strop.search.session import Session
from strop.search.trials import Trial, run_trial
from strop.trial.workshop import Prepared

STEP_DELTA = 0.01
"""Smallest gain over the stack for which one more instruction is worth having."""


def compose(session: Session, standing: Standing) -> list[Prepared]:
    """Grow the leader greedily.

    Returns:
        The stacks in the order they were reached, the best last; empty when nothing leads.
    """
    if standing.leader is None:
        return []
    _, stack, seat = standing.leader
    reached, tried = [stack], {stack.recipe.key}
    pool = variants(session.materials.facts, session.host, session.workload.traits, session.request.only)
    while not session.out_of_time():
        seat = seat or session.bench.seat(stack, "candidate")
        better = _step(session, standing, stack, seat, pool, tried)
        if better is None:
            break
        session.bench.dismiss(seat)
        stack, seat = better
        reached.append(stack)
        session.tell("compose.step", f"stack: {stack.recipe}")
    if seat is not None:
        session.bench.dismiss(seat)
    return reached


def _step(
    session: Session, standing: Standing, stack: Prepared, seat: Seat, pool: list[Instruction], tried: set[str]
) -> tuple[Prepared, Seat | None] | None:
    """Return the first addition that pays, with its living arm; ``None`` when none does or time is up."""
    facts, host, start = session.materials.facts, session.host, session.workload.traits
    for recipe in additions(stack.recipe, pool, facts, host, start):
        if recipe.key in tried or not session.budget.allows(expected_seconds(standing), session.reserved):
            continue
        tried.add(recipe.key)
        (prepared,) = session.prepare([recipe])
        trial, candidate = run_trial(session, prepared, seat, delta=STEP_DELTA)
        standing.trials.append(trial)
        if trial.status == "faster":
            return prepared, candidate
    return None


def prune(session: Session, standing: Standing, stack: Prepared) -> tuple[Prepared, list[tuple[str, Trial]]]:
    """Take each removable instruction out and see whether the stack gets slower; what does not pay is dropped.

    Returns:
        The stack that remains, and for each instruction the trial of the stack without it (the ablation table).
    """
    table: list[tuple[str, Trial]] = []
    for instruction, rest in removals(stack.recipe, session.workload.traits):
        if not session.budget.allows(expected_seconds(standing), session.reserved):
            break
        (prepared,) = session.prepare([rest])
        if not prepared.ready:
            continue
        with session.bench.seated(prepared, "baseline") as without:
            (whole,) = session.prepare([stack.recipe])
            trial, seat = run_trial(session, whole, without, delta=0.0)
        if seat is not None:
            session.bench.dismiss(seat)
        table.append((instruction.name, trial))
        if trial.status in ("no worthwhile gain", "slower") and not instruction.card.pinned:
            return prune(session, standing, prepared)
    return stack, table
