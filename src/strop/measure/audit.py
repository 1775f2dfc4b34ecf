"""Live checks that a fast arm is fast honestly: nothing remembered, timed answers equal evaluated ones, shapes kept."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strop.measure.arm import Arm
from strop.measure.clock import draw_inputs, uniform
from strop.measure.result import Finding
from strop.units import Seconds

GAIN = 0.10
"""A repeated input may be answered this much faster than a fresh one (warm processor caches)."""
SHORT_GAIN = 0.20
"""The same for calls below :data:`SHORT_NS`, where caches weigh more."""
SHORT_NS = 200_000
SLOW: Seconds = 0.5
"""Calls this long vary little and cost much: a sixth of them has to do."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried at a point: inputs, trials of a memory, and timed calls in each of their visits."""

    inputs: int = 3
    trials: int = 9
    calls: int = 3


FULL, SHORT = Effort(), Effort(inputs=1, trials=3, calls=1)


def audit(baseline: Arm, candidate: Arm, *, seed: int, calls: Mapping[str, Seconds] | None = None) -> tuple[Finding, ...]:
    """Run all three checks on the candidate at every operating point of both arms; no finding is the good outcome.

    Args:
        baseline: what the candidate stands in for; only its shapes are asked.
        candidate: the arm under suspicion; loaded and warm.
        seed: decides inputs and orders.
        calls: how long its call takes at each point, as far as that is known.
    """
    findings: list[Finding | None] = []
    for point, available in candidate.points.items():
        effort = SHORT if (calls or {}).get(point, 0.0) >= SLOW else FULL
        chosen = sorted(set(draw_inputs(effort.inputs, available, seed, "audit", point)))
        findings.append(audit_cached_results(candidate, point, chosen[0], seed=seed, effort=effort))
        findings.append(audit_timed_answers(candidate, point, chosen))
        findings.append(audit_shapes(baseline, candidate, point, chosen))
    return tuple(finding for finding in findings if finding is not None)


def audit_cached_results(arm: Arm, point: str, index: int, *, seed: int, effort: Effort = FULL) -> Finding | None:
    """Compare calls on one repeated input with calls on inputs never given before, in coin-ordered visits.

    After MLPerf's compliance TEST04. A target without the ability ``run_variant`` cannot be given fresh inputs; its other
    inputs then stand in, which finds a memory of the latest answer but not a table of all of them, and is reported so.
    """
    fresh_inputs = "run_variant" in arm.offers
    others = [i for i in range(arm.points[point]) if i != index]
    if not fresh_inputs and not others:
        return _limited(point, "it has a single input")
    logs, fresh_all = [], []
    for trial in range(effort.trials):
        order = (True, False) if uniform(seed, "cache audit", point, trial) < 0.5 else (False, True)
        taken: dict[bool, float] = {}
        for repeated in order:
            if repeated:
                taken[True] = statistics.median(arm.block(point, [index] * (effort.calls + 1), 1).calls_ns)
            elif fresh_inputs:
                first = 1 + trial * (effort.calls + 1)
                taken[False] = statistics.median(arm.variants(point, index, range(first, first + effort.calls + 1))[1:])
            else:
                # One call on the same input with another one before it; a median over visits of the only comparable call.
                taken[False] = arm.block(point, [others[trial % len(others)], index], 1).calls_ns[0]
        logs.append(math.log(taken[True] / taken[False]))
        fresh_all.append(taken[False])
    allowed = SHORT_GAIN if statistics.median(fresh_all) < SHORT_NS else GAIN
    bar = math.log1p(-allowed)
    if statistics.median(logs) < bar and sum(log < bar for log in logs) >= effort.trials - 1:
        share = 1 - math.exp(statistics.median(logs))
        return Finding(
            code="cached-results",
            message=f"at {point} a repeated input is answered {100 * share:.0f} % sooner than a fresh one.",
            advice="The arm seems to remember answers; its timing on repeated inputs says nothing about new ones.",
        )
    return None if fresh_inputs else _limited(point, "its target offers no fresh variants of an input")


def audit_timed_answers(arm: Arm, point: str, inputs: Sequence[int]) -> Finding | None:
    """Check that the answer a timed call leaves behind equals the answer of an evaluation, to the byte (MLPerf TEST01)."""
    if "answer_digest" not in arm.offers:
        return Finding(
            code="timed-answers-unseen",
            message=f"at {point} the target does not show the answers of timed calls, so they were not compared.",
            advice="Offer answer_digest() in the target.",
        )
    moody, wrong = [], []
    for index in inputs:
        evaluated = arm.digest(point, index)
        if arm.digest(point, index) != evaluated:
            moody.append(index)
            continue
        arm.block(point, [*inputs, index], len(inputs))
        if arm.answer_digest() != evaluated:
            wrong.append(index)
    if wrong:
        return Finding(
            code="timed-answers-differ",
            message=f"at {point} timed calls answered inputs {wrong} otherwise than the evaluation did.",
            advice="What was timed is not what was judged; the speed must not be claimed.",
        )
    if moody:
        return Finding(
            code="not-deterministic",
            message=f"at {point} the same call gives different bytes each time (inputs {moody}).",
            advice="Answers cannot be compared by digest; the quality guard must decide.",
        )
    return None


def audit_shapes(baseline: Arm, candidate: Arm, point: str, inputs: Sequence[int]) -> Finding | None:
    """Check that the candidate's answers have the shapes of the baseline's (MLPerf TEST06 and TEST09 in spirit)."""
    for index in inputs:
        shapes: list[Any] = [arm.shapes(point, index) for arm in (baseline, candidate)]
        if shapes[0] != shapes[1]:
            return Finding(
                code="shape-changed",
                message=f"at {point} the answer to input {index} has shapes {shapes[1]}, the baseline's has {shapes[0]}.",
                advice="A shorter answer is no faster answer; the speed must not be claimed.",
            )
    return None


def _limited(point: str, why: str) -> Finding:
    return Finding(
        code="cache-audit-limited",
        message=f"at {point} remembered answers could be looked for only in part: {why}.",
        advice="Offer run_variant() in the target.",
    )
