"""What a diagnosis says. Plain data, to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from strop.units import Bytes, Ratio, Seconds, show_seconds, show_share


class Bottleneck(StrEnum):
    """What limits a model at one operating point."""

    COMPUTE = "compute-bound"
    """Products and convolutions, limited by arithmetic."""
    MEMORY = "memory-bound"
    """Moving weights or activations."""
    OVERHEAD = "overhead-bound"
    """Starting operators: many small ones, each waiting for Python and dispatch."""


@dataclass(frozen=True, slots=True)
class OperatorShare:
    """One operator's own share of the time inside operators, and how often it runs per call of the model."""

    name: str
    share: Ratio
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDiagnosis:
    """Where the time goes at one operating point.

    Attributes:
        point: the operating point.
        bottleneck: what limits it.
        seconds: time of a call, unprofiled: the mean over the inputs timed, each by its median.
        operators: by own time, largest first.
        operator_calls: operators started per call.
        product_share: of the operators' time, in matrix products, convolutions and attention.
        overhead_share: of the call, spent starting operators rather than in them (estimate: their number times the
            measured cost of starting an empty one, or the time outside operators, whichever is larger).
        flops: floating-point operations per call, as torch counts them: the mean over the same inputs.
        uncounted: operators that compute products but that torch's counter does not know; flops are then too low.
        traffic: compulsory bytes: weights, inputs, outputs, and of an embedding only the rows taken.
        bound: shortest possible seconds, ``max(flops / P, traffic / BW)``; 0 when the roofs were not measured.
    """

    point: str
    bottleneck: Bottleneck
    seconds: Seconds
    operators: tuple[OperatorShare, ...]
    operator_calls: int
    product_share: Ratio
    overhead_share: Ratio
    flops: int
    uncounted: tuple[str, ...]
    traffic: Bytes
    bound: Seconds

    @property
    def intensity(self) -> float:
        """FLOP per byte of compulsory traffic."""
        return self.flops / self.traffic if self.traffic else 0.0

    @property
    def achieved(self) -> float:
        """FLOP per second."""
        return self.flops / self.seconds

    @property
    def roof_share(self) -> Ratio:
        """Share of the roof that is reached, ``bound / seconds``; 0 when the roofs were not measured."""
        return self.bound / self.seconds

    @property
    def reason(self) -> str:
        """The numbers behind the bottleneck, in a sentence."""
        # Roofs are those of main memory; a small model's weights stay in a cache, which reads faster.
        reached = f"{show_share(self.roof_share)} of the roof" if self.roof_share <= 1 else "above main memory's roof: in a cache"
        roof = reached if self.bound else "roofs not measured"
        missing = f"; not counted: {', '.join(self.uncounted)}" if self.uncounted else ""
        work = f"{self.flops / 1e9:.3g} GFLOP at {self.intensity:.3g} FLOP per byte"
        time = f"{show_share(self.product_share)} of their time in products, {show_share(self.overhead_share)} overhead"
        return f"{show_seconds(self.seconds)} per call, {self.operator_calls} operators, {time}, {work}, {roof}{missing}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form with the derived numbers in it."""
        derived = {name: getattr(self, name) for name in ("intensity", "achieved", "roof_share", "reason")}
        lists = {"operators": [asdict(o) for o in self.operators], "uncounted": list(self.uncounted)}
        return {**asdict(self), "bottleneck": self.bottleneck.value, **lists, **derived}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An instruction worth trying.

    Attributes:
        number: of the instruction.
        name: of the instruction.
        reason: why, with this model's numbers.
        gain: predicted speed-up over the points; orders the search, proves nothing.
    """

    number: int
    name: str
    reason: str
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All points, and what is worth trying, largest predicted gain first."""

    points: tuple[PointDiagnosis, ...]
    suggestions: tuple[Suggestion, ...] = field(default=())

    @property
    def notes(self) -> dict[str, float]:
        """Numbers for a model's facts: mean shares and the part of the points under each bottleneck."""
        count = len(self.points)
        notes = {b.value.replace("-", "_"): sum(p.bottleneck is b for p in self.points) / count for b in Bottleneck}
        for name in ("product_share", "overhead_share", "roof_share"):
            notes[name] = sum(getattr(p, name) for p in self.points) / count
        return notes

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; each point repeats the suggestions as a report shows them."""
        shown = [{"instruction": f"{s.number:02d} {s.name}", "reason": s.reason} for s in self.suggestions]
        return {
            "points": [{**point.to_json(), "suggestions": shown} for point in self.points],
            "suggestions": [asdict(s) for s in self.suggestions],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Diagnosis:
        """Rebuild a diagnosis from :meth:`to_json`."""
        derived = {"intensity", "achieved", "roof_share", "reason", "suggestions"}
        points = []
        for given in row["points"]:
            values = {key: value for key, value in given.items() if key not in derived}
            values["bottleneck"] = Bottleneck(values["bottleneck"])
            values["operators"] = tuple(OperatorShare(**o) for o in values["operators"])
            values["uncounted"] = tuple(values["uncounted"])
            points.append(PointDiagnosis(**values))
        return cls(points=tuple(points), suggestions=tuple(Suggestion(**s) for s in row["suggestions"]))
