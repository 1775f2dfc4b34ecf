"""What measuring produces: blocks, pairs, verdicts, comparisons. Plain data, to and from JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from strop.units import Ratio


class Verdict(StrEnum):
    """What a comparison says about the candidate. ``S`` is the speed-up, ``δ`` the smallest worthwhile gain."""

    FASTER = "faster"
    """``S > 1 + δ`` is proven."""
    SLOWER = "slower"
    """``S < 1 / (1 + δ)`` is proven."""
    NO_GAIN = "no worthwhile gain"
    """``S < 1 + δ`` is proven."""
    UNDECIDED = "undecided"
    """The budget was spent before any of these could be proven."""
    INVALID = "invalid"
    """A self-check of the measurement failed; no claim may rest on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the system says about one block, independent of the timing (used for voiding).

    Attributes:
        wall_ns: length of the whole visit, discards included.
        own_cpu_ns: processor time of the arm's own process group.
        foreign_cpu_ns: processor time of everybody else on the cores of the host.
        steal_ns: time the hypervisor gave to others.
        major_faults: page faults of the arm that had to read from disk.
        involuntary_switches: times the scheduler took the core from the arm.
    """

    wall_ns: int = 0
    own_cpu_ns: int = 0
    foreign_cpu_ns: int = 0
    steal_ns: int = 0
    major_faults: int = 0
    involuntary_switches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One visit to one arm at one operating point.

    Attributes:
        arm: ``"baseline"`` or ``"candidate"``.
        point: name of the operating point.
        calls_ns: wall time of each timed call, in order; of a server, of each request of a window that was answered in time.
        counters: the system's view of the visit.
    """

    arm: str
    point: str
    calls_ns: tuple[int, ...]
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A baseline visit and a candidate visit beside each other, order decided by a logged coin.

    Attributes:
        index: number of the pair inside its comparison, from 0; also the coin's counter.
        round: number of the fresh pair of processes it was measured with.
        candidate_first: the coin.
        blocks: two per operating point, in the order they ran.
        voided: why the pair was taken out (exogenous counters only), or ``None``.
    """

    index: int
    round: int
    candidate_first: bool
    blocks: tuple[Block, ...]
    voided: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Pair:
        """Rebuild a pair from :meth:`to_json`."""
        blocks = tuple(
            Block(arm=b["arm"], point=b["point"], calls_ns=tuple(b["calls_ns"]), counters=Counters(**b["counters"]))
            for b in row["blocks"]
        )
        return cls(
            index=row["index"],
            round=row["round"],
            candidate_first=row["candidate_first"],
            blocks=blocks,
            voided=row["voided"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval of a speed-up (baseline time / candidate time), or of another quantity if named so."""

    low: Ratio
    estimate: Ratio
    high: Ratio
    confidence: Ratio

    def to_json(self) -> dict[str, float | None]:
        """Return a JSON-able form in which an unbounded side and an unknown estimate are ``null``."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: Mapping[str, float | None]) -> Interval:
        """Rebuild an interval from :meth:`to_json`."""
        unknown = {"low": -math.inf, "estimate": math.nan, "high": math.inf}
        return cls(**{name: unknown[name] if value is None else value for name, value in row.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A named doubt about a measurement, with advice.

    Attributes:
        code: stable kebab-case name, for instance ``"noisy-host"``.
        message: what was seen, with its numbers.
        advice: what to do about it.
    """

    code: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Baseline against candidate at one operating point, or over all of them (``point == "all"``).

    Attributes:
        point: the operating point, or ``"all"`` for the mean of the log-ratios over the points.
        phase: ``"screen"`` (a filter, never a claim) or ``"confirm"`` (fresh processes, pre-registered).
        verdict: what is proven.
        speedup: interval of baseline time / candidate time.
        pairs: pairs used, voided ones not counted.
        rounds: fresh process pairs used.
        alpha: error probability at which the verdict was taken.
        delta: smallest worthwhile gain.
        evidence: ``{"e_faster": …, "e_slower": …, "e_futile": …}`` in screening, ``{"theta": …, "s": …, "upper": …}`` in
            confirmation.
        findings: doubts.
    """

    point: str
    phase: str
    verdict: Verdict
    speedup: Interval
    pairs: int
    rounds: int
    alpha: float
    delta: float
    evidence: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        plain = {"verdict": self.verdict.value, "speedup": self.speedup.to_json(), "evidence": dict(self.evidence)}
        return {**asdict(self), **plain}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Comparison:
        """Rebuild a comparison from :meth:`to_json`."""
        return cls(
            **{
                **row,
                "verdict": Verdict(row["verdict"]),
                "speedup": Interval.from_json(row["speedup"]),
                "findings": tuple(Finding(**f) for f in row["findings"]),
            }
        )
