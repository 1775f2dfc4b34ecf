"""Which pairs were disturbed, told from the system's counters alone.

The rule never sees a timing, treats both arms alike and is fixed before the run. A value is never dropped for being
large: a candidate that is sometimes slow is sometimes slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from scipy import special

from strop.measure.result import Block, Counters, Pair
from strop.units import show_share

FOREIGN_SHARE = 0.10
TICK_NS = 10_000_000
"""Grain of the machine-wide processor counters; one tick more or less is rounding, not a disturbance."""
ASYMMETRY_LEVEL = 0.01


def void_reason(baseline: Counters, candidate: Counters, cores: int) -> str | None:
    """Return why a pair is void, or ``None``. Starts with ``"baseline: "``, ``"candidate: "`` or ``"both: "``.

    A visit is disturbed when foreign processor time and steal exceed 10 % of the time of the ``cores`` the arm uses
    (and the grain of the counters), or when it had to read pages from disk.
    """
    first, second = _disturbance(baseline, cores), _disturbance(candidate, cores)
    if first and second:
        return f"both: {first}; {second}"
    if first:
        return f"baseline: {first}"
    return f"candidate: {second}" if second else None


def blocks_void_reason(blocks: Sequence[Block], cores: int) -> str | None:
    """Return :func:`void_reason` of a whole pair, the counters of each arm summed over its operating points."""
    return void_reason(_sum(blocks, "baseline"), _sum(blocks, "candidate"), cores)


def asymmetry(pairs: Sequence[Pair]) -> str | None:
    """Return a sentence when one arm alone causes the voiding (two-sided binomial test, p < 0.01), else ``None``.

    An arm that brings about its own disturbance, by page faults for instance, must not be rescued by having its bad
    pairs taken out.
    """
    baseline, candidate = (sum(_blames(pair, arm) for pair in pairs) for arm in ("baseline", "candidate"))
    if baseline + candidate == 0:
        return None
    tail = float(special.bdtr(min(baseline, candidate), baseline + candidate, 0.5))
    if min(1.0, 2 * tail) >= ASYMMETRY_LEVEL:
        return None
    return f"voided visits: {baseline} of the baseline alone, {candidate} of the candidate alone"


def _disturbance(counters: Counters, cores: int) -> str | None:
    foreign = counters.foreign_cpu_ns + counters.steal_ns
    available = cores * counters.wall_ns
    if foreign > FOREIGN_SHARE * available + TICK_NS:
        return f"others used {show_share(foreign / available) if available else 'all'} of the processor time"
    if counters.major_faults > 0:
        return f"{counters.major_faults} pages were read from disk"
    return None


def _sum(blocks: Sequence[Block], arm: str) -> Counters:
    mine = [block.counters for block in blocks if block.arm == arm]
    return Counters(**{field.name: sum(getattr(counters, field.name) for counters in mine) for field in fields(Counters)})


def _blames(pair: Pair, arm: str) -> bool:
    return pair.voided is not None and pair.voided.startswith(f"{arm}: ")
