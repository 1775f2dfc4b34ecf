"""Parts of a report: the workload, the machine's view of the original, and the trials. ``None`` means "not measured"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from strop.measure.result import Interval
from strop.units import Ratio, Seconds

STATUSES: Mapping[str, str] = {
    "kept": "part of the final recipe",
    "faster": "proven faster, but not in the final recipe",
    "smaller": "proven smaller",
    "better": "proven better answers",
    "protected": "gives the protection that was asked for",
    "no worthwhile gain": "proven to gain less than the smallest worthwhile gain",
    "slower": "proven slower",
    "undecided": "the time ran out before anything was proven",
    "invalid": "a self-check of the measurement failed",
    "declined": "does not fit this model or machine",
    "lacks dependency": "needs a package that is not installed",
    "no effect": "changed nothing in this model",
    "failed to prepare": "stopped with an error while being prepared",
    "failed to run": "crashed, hung or ran out of memory",
    "wrong": "returned wrong outputs",
    "worse quality": "breaks the quality budget",
    "unproven quality": "the evaluation data cannot show that the quality budget is kept",
    "planned": "known, but not built yet",
}
"""Every status a trial can have, with its meaning in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The workload.

    Attributes:
        name: shown in the title.
        reference: ``file:function`` that rebuilds it; ``None`` for a live object, which cannot be replayed elsewhere.
        detail: one line about the model, for instance its class and number of parameters.
        aim: what was to be improved, for instance ``"latency"``.
        max_drop: the quality budget in words.
    """

    name: str
    reference: str | None = None
    detail: str = ""
    aim: str = "latency"
    max_drop: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The time that was allowed and where it went.

    Attributes:
        limit: seconds allowed; ``None``: no limit was set.
        spent: seconds used.
        steps: step → seconds, in order.
    """

    limit: Seconds | None
    spent: Seconds
    steps: Mapping[str, Seconds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the run ended.

    Attributes:
        exit_code: 0 something kept, 3 nothing paid, 1 failed, 130 interrupted.
        kept: instructions of the final recipe, for instance ``"29 static_quantization"``.
        reason: one sentence, needed when the run failed or was interrupted.
    """

    exit_code: int
    kept: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A high quantile of the latency, with the bound LoadGen's early-stopping rule supports.

    Attributes:
        estimate: the plain sample quantile, seconds.
        bound: the latency the quantile is below with the rule's confidence; ``None``: too few calls.
        calls: calls it rests on.
    """

    estimate: Seconds
    bound: Seconds | None
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long calls took at one operating point.

    Attributes:
        point: the operating point.
        p50: interval of the median, seconds.
        p90: 90th percentile, or ``None``.
        p99: 99th percentile, or ``None``.
        calls_per_second: calls, one after another, per second.
    """

    point: str
    p50: Interval
    p90: Tail | None = None
    p99: Tail | None = None
    calls_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator's part of a call: ``share`` of its time, and ``calls`` per call of the model."""

    name: str
    share: Ratio
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """An instruction the diagnosis speaks for (``instruction`` is number and name) and why."""

    instruction: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Where the baseline's time goes at one operating point.

    Attributes:
        point: the operating point.
        bottleneck: its class, for instance ``"compute-bound"`` or ``"overhead-bound"``.
        reason: the numbers behind the class, in a sentence.
        operators: the largest first.
        suggestions: what to try, strongest first.
    """

    point: str
    bottleneck: str
    reason: str = ""
    operators: tuple[Operator, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePoint:
    """A place under the roofline.

    Attributes:
        label: arm and operating point, for instance ``"original, batch 1"``.
        intensity: FLOP per byte of compulsory traffic.
        achieved: FLOP per second.
        result: belongs to the result, not to the baseline.
    """

    label: str
    intensity: float
    achieved: float
    result: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    """One recipe in the latency–quality plane.

    Attributes:
        label: recipe in words, ``"original"``, ``"result"``, or ``"claimed, and refuted"``.
        latency: seconds.
        quality: value of the metric.
        phase: ``"screen"`` or ``"confirm"``.
        status: status of the trial, or empty for the original.
    """

    label: str
    latency: Seconds
    quality: float
    phase: str
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """Latency against quality: at which ``point``, in which ``metric``, above (or below) which ``limit`` a recipe may be kept."""

    point: str
    metric: str
    points: tuple[ParetoPoint, ...]
    limit: float | None = None
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A row of the table of trials.

    Attributes:
        id: short name.
        recipe: one line of text.
        instructions: number and name of each.
        status: a key of :data:`STATUSES`.
        reason: why, in a sentence.
        screen: operating point (or ``"all"``) → interval of the speed-up in screening; never a result.
        preparation: seconds spent preparing it; ``None``: never prepared.
        tallies: instruction → what it changed → how often.
        quality: the screening guard in a few words.
    """

    id: str
    recipe: str
    status: str
    instructions: tuple[str, ...] = ()
    reason: str = ""
    screen: Mapping[str, Interval] = field(default_factory=dict)
    preparation: Seconds | None = None
    tallies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    quality: str = ""
