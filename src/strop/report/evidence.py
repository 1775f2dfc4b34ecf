"""Parts of a report: what was confirmed about the result, and what it cost. ``None`` means "not measured"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from strop.measure.result import Comparison, Interval
from strop.units import Bytes, Ratio, Seconds

GUARDS = ("held", "broken", "unproven", "not measured")
"""What the quality guard can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A pre-registered comparison on fresh processes: one :class:`Comparison` per operating point, and one named ``"all"``."""

    comparisons: tuple[Comparison, ...]
    candidate: str = "result"
    against: str = "original"

    def over_all(self) -> Comparison | None:
        """Return the comparison over all operating points; with a single point that point's own; else ``None``."""
        named = [c for c in self.comparisons if c.point == "all"]
        chosen = named or (self.comparisons if len(self.comparisons) == 1 else ())
        return chosen[0] if chosen else None

    def per_point(self) -> tuple[Comparison, ...]:
        """Return the comparisons of single operating points."""
        return tuple(c for c in self.comparisons if c.point != "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """What one instruction contributes to the final recipe.

    Attributes:
        instruction: number and name.
        contribution: interval of time without it / time with it; ``None``: not measured.
        phase: ``"confirm"``, or ``"screen"`` for a contribution measured while searching, which is shown greyed.
        verdict: ``"kept"``, ``"dropped"`` or the verdict's word; shown as it is.
        reason: why.
    """

    instruction: str
    contribution: Interval | None = None
    verdict: str = ""
    reason: str = ""
    phase: str = "screen"

    @property
    def confirmed(self) -> bool:
        """Whether the contribution was measured in the confirm phase."""
        return self.phase == "confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityCheck:
    """Quality of the original and of the result on the same held-out examples.

    Attributes:
        metric: name of the measure.
        guard: one of :data:`GUARDS`.
        baseline: value of the original; ``None``: not measured.
        result: value of the result; ``None``: not measured.
        margin: largest loss allowed, in the metric's unit.
        difference: interval of result − baseline, in the metric's unit.
        test: name of the statistical test.
        examples: how many examples; ``clusters``: how many independent sources they come from.
        discordance: share of examples the two answer differently.
        needed: examples that would decide it, when unproven.
        higher_is_better: direction.
        note: for instance ``"speed only, no quality claim"``.
    """

    metric: str
    guard: str
    baseline: float | None = None
    result: float | None = None
    margin: float | None = None
    difference: Interval | None = None
    test: str = ""
    examples: int | None = None
    clusters: int | None = None
    discordance: Ratio | None = None
    needed: int | None = None
    higher_is_better: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedTime:
    """When both trainings from one seed reached the target: seconds and optimizer steps; ``None``: the result never did."""

    target: float
    baseline_seconds: Seconds
    baseline_steps: int
    result_seconds: Seconds | None = None
    result_steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeToTarget:
    """How long whole trainings take to get as far as the plain one ends.

    Attributes:
        what: is to be reached, in words.
        looks: how often each training was looked at, evenly over its steps.
        seeds: one by one.
        sooner: interval of time of the original / time of the result; ``None``: the result did not get there every time.
    """

    what: str
    looks: int
    seeds: tuple[SeedTime, ...]
    sooner: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Sizes of one arm in bytes; ``None`` is "not measured". ``note`` says what fresh processes prove about the first."""

    process_peak: Bytes | None = None
    tensor_peak: Bytes | None = None
    disk: Bytes | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdMark:
    """Seconds from spawn to a mark such as ``"first answer"`` in a fresh process, for both arms."""

    name: str
    baseline: Seconds | None = None
    result: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Starting from nothing.

    Attributes:
        marks: in order; the last one is the first answer.
        condition: ``"warm files"``, ``"cold files"`` or ``"first ever"``.
        starts: fresh processes per arm.
        speedup: interval of baseline / result for the first answer, if it was compared in pairs.
    """

    marks: tuple[ColdMark, ...]
    condition: str = "warm files"
    starts: int = 0
    speedup: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What finding the result cost: ``seconds``, and operating point → calls after which it is earned back (``None``: never)."""

    seconds: Seconds
    break_even: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Paired log-ratios ``ln(baseline time / result time)`` of the confirm phase at one operating point."""

    point: str
    log_ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A line to type, and what it does."""

    line: str
    what: str
