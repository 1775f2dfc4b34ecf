"""What is fixed before a measurement starts. A verdict is a function of a plan and the recorded pairs, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from strop.errors import UsageError
from strop.units import Ratio

Metric = Literal["latency", "throughput", "goodput"]
"""``"latency"``: the median over the calls of a pair of blocks; ``"throughput"``: their total times; ``"goodput"``: how many
calls they hold, where a block holds what a server answered in time in a window of one schedule."""

METRICS = get_args(Metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenPlan:
    """A screening comparison: pairs are added until the evidence decides, at any time, or the cap is reached.

    Attributes:
        delta: smallest worthwhile gain; FASTER means ``S > 1 + delta``.
        alpha: error probability of FASTER and of SLOWER, however often one looks.
        alpha_futility: error probability of NO_GAIN.
        min_pairs: pairs before the first look.
        max_pairs: pairs after which the comparison is UNDECIDED (voided pairs not counted).
        metric: how a pair of blocks becomes one number.
        spread: expected spread of a pair's log-ratio, used until the pairs themselves tell (an A/A calibration's, or 3 %).
    """

    delta: Ratio = 0.02
    alpha: float = 0.05
    alpha_futility: float = 0.1
    min_pairs: int = 6
    max_pairs: int = 40
    metric: Metric = "latency"
    spread: Ratio = 0.03

    def __post_init__(self) -> None:
        """Refuse values that no comparison can be made with."""
        _check(self.delta >= 0, "delta", self.delta, "0 or more")
        _check(0 < self.alpha < 1, "alpha", self.alpha, "between 0 and 1")
        _check(0 < self.alpha_futility < 1, "alpha_futility", self.alpha_futility, "between 0 and 1")
        _check(1 <= self.min_pairs <= self.max_pairs, "min_pairs", self.min_pairs, f"from 1 to max_pairs = {self.max_pairs}")
        _check(self.metric in METRICS, "metric", self.metric, f"one of {', '.join(METRICS)}")
        _check(self.spread > 0, "spread", self.spread, "more than 0")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ScreenPlan:
        """Rebuild a plan from :meth:`to_json`."""
        return cls(**row)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPlan:
    """A confirming comparison, written down before its first pair is measured.

    Attributes:
        delta: smallest worthwhile gain.
        alpha: error probability of the claim.
        rounds: fresh pairs of processes.
        pairs: pairs in each round.
        metric: how a pair of blocks becomes one number.
        exact: judge by the sign-flip test over the rounds instead of Student's t (no shape assumed; ``2^-rounds <= alpha``).
        least: the claim may rest on that many rounds where the time ends before all are measured; 0: on all of them only.
            A round that does not fit is not begun, so the clock alone decides, and never the values.
    """

    delta: Ratio = 0.02
    alpha: float = 0.05
    rounds: int = 5
    pairs: int = 16
    metric: Metric = "latency"
    exact: bool = False
    least: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no claim can be confirmed with."""
        _check(self.delta >= 0, "delta", self.delta, "0 or more")
        _check(0 < self.alpha < 1, "alpha", self.alpha, "between 0 and 1")
        _check(self.rounds >= 2, "rounds", self.rounds, "2 or more: one process pair says nothing about the next")
        _check(2 <= self.needed <= self.rounds, "least", self.least, f"0, or from 2 to rounds = {self.rounds}")
        _check(self.pairs >= 2, "pairs", self.pairs, "2 or more")
        _check(self.metric in METRICS, "metric", self.metric, f"one of {', '.join(METRICS)}")
        if self.exact:
            _check(2.0**-self.needed <= self.alpha, "rounds", self.needed, f"enough for 2^-rounds <= {self.alpha:g}")

    @property
    def needed(self) -> int:
        """Complete rounds without which nothing is claimed."""
        return self.least or self.rounds

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ConfirmPlan:
        """Rebuild a plan from :meth:`to_json`."""
        return cls(**row)


def _check(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{name} of a measuring plan must be {wanted}; got {value!r}")
