"""Long stretches of one arm without turn-taking: a check that alternating did not decide the result.

Each switch evicts caches. An arm whose strength is that it stays in the cache may look worse in pairs than it is when it is
deployed alone; the paired ratio remains the claim, and the solo ratio is printed beside it when they differ.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from strop.measure.arm import Arm
from strop.measure.clock import draw_inputs
from strop.measure.collect import BlockPlan, PointProfile
from strop.measure.result import Block, Finding
from strop.units import Ratio, Seconds

TOLERANCE: Ratio = 0.03
"""A solo ratio may differ from the paired one by this much before it is told."""


def solo_stretch(
    arm: Arm, profiles: Mapping[str, PointProfile], plan: BlockPlan, *, seed: int, seconds: Seconds = 2.0
) -> dict[str, Block]:
    """Let one warm arm work alone for about ``seconds``, shared among the points of ``plan``; it is parked afterwards.

    Both arms should get the same ``seed``: they then see the same sequence of inputs, the slower one a beginning of it.
    """
    blocks = {}
    with arm.turn():
        for point, visit in plan.points.items():
            calls = max(3, math.ceil(seconds / len(plan.points) / profiles[point].call_seconds))
            inputs = draw_inputs(visit.discards + calls, arm.points[point], seed, "solo", point)
            blocks[point] = arm.block(point, inputs, visit.discards, timeout=120.0 + 20 * seconds)
    arm.park()
    return blocks


def solo_finding(point: str, baseline: Block, candidate: Block, paired: Ratio, tolerance: Ratio = TOLERANCE) -> Finding | None:
    """Compare the speed-up of two solo stretches with the paired one.

    Args:
        point: operating point.
        baseline: stretch of the baseline.
        candidate: stretch of the candidate.
        paired: speed-up from pairs.
        tolerance: relative difference that is let pass.
    """
    common = min(len(baseline.calls_ns), len(candidate.calls_ns))
    solo = statistics.median(baseline.calls_ns[:common]) / statistics.median(candidate.calls_ns[:common])
    if abs(math.log(solo / paired)) <= math.log1p(tolerance):
        return None
    return Finding(
        code="switch-sensitive",
        message=f"at {point} the speed-up is ×{solo:.3f} when each arm works alone and ×{paired:.3f} in alternating pairs.",
        advice="Which one applies depends on what else the machine does between calls; quote both.",
    )
