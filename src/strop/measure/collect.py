"""Taking pairs: the only place where two arms meet the clock."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from strop.errors import UsageError
from strop.measure.clock import draw_inputs, uniform, usable_cpus
from strop.measure.coin import coin, jitter
from strop.measure.result import Block, Pair
from strop.measure.voiding import blocks_void_reason
from strop.units import Seconds

LONG_CALL: Seconds = 0.1
"""A call this long re-warms within itself: none is discarded before it."""

BLOCK_SECONDS: Seconds = 0.05
"""Aim for the timed part of a visit on a processor: at least ten scheduler ticks."""

REPEAT_SECONDS: Seconds = 0.15
"""Up to three calls are timed in a visit while they fit into this; beyond that, more pairs tell more than more calls."""

_MAX_CALLS = 5000
_PROFILE_CALLS = 6
_PROFILE_VISITS = 5
_PROFILE_SECONDS: Seconds = 0.6
"""At a point whose calls take this long together, fewer visits have to do; never fewer than two."""


class Visited(Protocol):
    """What collecting needs of an arm; :class:`strop.measure.arm.Arm` is the real one."""

    @property
    def points(self) -> Mapping[str, int]:
        """Operating point → number of inputs."""

    def block(self, point: str, inputs: Sequence[int], discards: int = 0) -> Block:
        """Visit the arm."""

    def park(self) -> None:
        """Stop the arm; a visit to a parked arm lets it run for that visit only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointProfile:
    """What a visit to one operating point costs.

    Attributes:
        call_seconds: median call, after the arm has re-warmed.
        discards: calls after a switch that are slower than the rest.
    """

    call_seconds: Seconds
    discards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPlan:
    """Calls of one visit: ``discards`` untimed ones, then ``timed``."""

    discards: int
    timed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """What each visit of a comparison does, per operating point, alike for both arms; ``pair_seconds`` is its expected cost."""

    points: Mapping[str, PointPlan]
    pair_seconds: Seconds = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> BlockPlan:
        """Rebuild a plan from :meth:`to_json`."""
        points = {name: PointPlan(**plan) for name, plan in row["points"].items()}
        return cls(points=points, pair_seconds=row["pair_seconds"])


def profile(
    arm: Visited, points: Sequence[str] | None = None, *, rival: Visited | None = None, seed: int = 0
) -> dict[str, PointProfile]:
    """Measure how a warm arm re-warms after it was stopped.

    Each visit repeats one input, so that calls of one visit can be compared with each other; different visits use different
    inputs. A point whose calls are long is visited once only.

    Args:
        arm: a loaded and warmed arm; it is parked afterwards.
        points: operating points; default all.
        rival: another warmed arm that has a visit in between, so that caches are as cold as in a real pair.
        seed: decides the inputs.
    """
    arm.park()
    if rival is not None:
        rival.park()
    profiles = {}
    for point in points or arm.points:
        visits: list[tuple[int, ...]] = []
        for visit, index in enumerate(draw_inputs(_PROFILE_VISITS, arm.points[point], seed, "profile", point)):
            if rival is not None:
                rival.block(point, [index % rival.points[point]] * 3)
            first = arm.block(point, [index] * (1 if visit == 0 else _PROFILE_CALLS)).calls_ns
            visits.append(first)
            if visit == 0 and first[0] >= 1e9 * LONG_CALL:
                break
            if visit >= 2 and sum(map(sum, visits)) > 1e9 * _PROFILE_SECONDS:
                break
        profiles[point] = read_profile(visits)
    return profiles


def read_profile(visits: Sequence[Sequence[int]]) -> PointProfile:
    """Return the number of slow calls after a switch: those before the first that is within 2 % of the plateau.

    Args:
        visits: call times in nanoseconds, per visit in order; a visit of a single call only tells whether calls are long.
    """
    full = [visit for visit in visits if len(visit) > 1]
    if not full:
        return PointProfile(call_seconds=statistics.median(visit[0] for visit in visits) / 1e9, discards=0)
    plateaus = [statistics.median(visit[len(visit) // 2 :]) for visit in full]
    call = statistics.median(plateaus)
    ratios = [statistics.median(visit[n] / flat for visit, flat in zip(full, plateaus, strict=True)) for n in range(len(full[0]))]
    slow = next((n for n, ratio in enumerate(ratios) if ratio <= 1.02), len(ratios))
    allowed = max(1, min(5, int(0.1e9 / call)))
    return PointProfile(call_seconds=call / 1e9, discards=min(max(slow, 1), allowed) if call < 1e9 * LONG_CALL else 0)


def block_plan(
    baseline: Mapping[str, PointProfile], candidate: Mapping[str, PointProfile], *, block_seconds: Seconds = BLOCK_SECONDS
) -> BlockPlan:
    """Fix the visits of a comparison from both arms' profiles; the plan is the same for both, so that neither is favoured.

    Timed calls per visit: ``max(ceil(block_seconds / g), min(3, ceil(0.15 s / g)))`` where ``g`` is the geometric mean of
    the arms' call times: three calls at least while they are short, a single one once it takes 0.15 s.
    """
    if set(baseline) != set(candidate):
        raise UsageError(f"the arms offer different operating points: {sorted(baseline)} and {sorted(candidate)}")
    points, seconds = {}, 0.0
    for point, one in baseline.items():
        other = candidate[point]
        typical = math.sqrt(one.call_seconds * other.call_seconds)
        timed = min(_MAX_CALLS, max(math.ceil(block_seconds / typical), min(3, math.ceil(REPEAT_SECONDS / typical))))
        plan = points[point] = PointPlan(discards=max(one.discards, other.discards) if typical < LONG_CALL else 0, timed=timed)
        seconds += (plan.discards + plan.timed) * (one.call_seconds + other.call_seconds)
    return BlockPlan(points=points, pair_seconds=seconds)


def take_pair(
    baseline: Visited,
    candidate: Visited,
    plan: BlockPlan,
    *,
    seed: int,
    comparison: str,
    index: int,
    round: int = 0,
    cores: int | None = None,
    pause: Seconds = 0.02,
    sleep: Callable[[float], None] = time.sleep,
) -> Pair:
    """Visit both arms at every operating point of ``plan``, in the order of the pair's coin; both arms are parked afterwards.

    The points come in an order drawn for this pair; at each point the two visits follow each other without a gap and use the
    same inputs, of which each is timed equally often over the pairs of a comparison. Nothing is drawn from anything but
    ``(seed, comparison, index)``.

    Args:
        baseline: warmed arm.
        candidate: warmed arm.
        plan: what a visit does.
        seed: of the run.
        comparison: name of the comparison.
        index: number of the pair in it.
        round: number of the fresh pair of processes.
        cores: processors the arms may use; default: those of this process.
        pause: upper limit of the random idle time before the pair.
        sleep: waits; for tests.
    """
    baseline.park()
    candidate.park()
    sleep(jitter(seed, comparison, index, pause))
    heads = coin(seed, comparison, index)
    arms = {"baseline": baseline, "candidate": candidate}
    roles = ("candidate", "baseline") if heads else ("baseline", "candidate")
    blocks: list[Block] = []
    for point in sorted(plan.points, key=lambda name: uniform(seed, comparison, index, "order", name)):
        visit = plan.points[point]
        available = baseline.points[point]
        inputs = draw_inputs(visit.discards, available, seed, comparison, index, "discards", point)
        # Where inputs differ in length, so do their ratios: the pairs of a comparison share the inputs out evenly.
        inputs += draw_inputs(visit.timed, available, seed, comparison, "inputs", point, start=index * visit.timed)
        # A living arm may be the candidate of one comparison and the baseline of the next: its role names its blocks.
        blocks += [replace(arms[role].block(point, inputs, visit.discards), arm=role) for role in roles]
    voided = blocks_void_reason(blocks, cores or len(usable_cpus()))
    return Pair(index=index, round=round, candidate_first=heads, blocks=tuple(blocks), voided=voided)
