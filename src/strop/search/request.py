"""What a run was asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from strop.contract.card import Aim
from strop.contract.quality import MaxDrop
from strop.measure.plan import Metric
from strop.units import Ratio, Seconds

ONE_PER_CENT = MaxDrop(0.01, relative=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The question a run answers.

    Attributes:
        aim: what to improve.
        max_drop: how much quality may be lost.
        budget: seconds for everything, from the start to the report.
        seed: of coins, inputs and preparations.
        delta: smallest worthwhile gain; 0.02 suits shared machines.
        alpha: family-wise error probability of everything the report claims.
        exact: confirm by an exact sign-flip test instead of Student's t.
        only: instruction numbers to try; empty = all that apply.
        pinned: instruction numbers that must be in the result.
    """

    aim: Aim = Aim.LATENCY
    max_drop: MaxDrop = ONE_PER_CENT
    budget: Seconds = 600.0
    seed: int = 0
    delta: Ratio = 0.02
    alpha: Ratio = 0.05
    exact: bool = False
    only: tuple[int, ...] = ()
    pinned: tuple[int, ...] = ()

    @property
    def metric(self) -> Metric:
        """How blocks are compared: by calls for latency, by their number for goodput, by total times otherwise."""
        if self.aim is Aim.GOODPUT:
            return "goodput"
        return "latency" if self.aim in (Aim.LATENCY, Aim.SIZE, Aim.MEMORY) else "throughput"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Request:
        """Rebuild a request from :meth:`to_json`."""
        values = {**row, "aim": Aim(row["aim"]), "max_drop": MaxDrop(**row["max_drop"])}
        return cls(**{**values, "only": tuple(row["only"]), "pinned": tuple(row["pinned"])})
