"""What the scheduler is told once."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from strop.contract.service import Service
from strop.errors import UsageError
from strop.units import Bytes, Ratio, Seconds

OBJECTIVE: Seconds = 0.1
"""Where nobody names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Settings of the scheduler; the objective is the only one most people set.

    Attributes:
        objective: time from arrival to answer that every request is given.
        executors: batches run side by side.
        max_rows: most rows of a batch.
        first_rows: most rows of a batch at first; raised to ``max_rows`` batch by batch. 0: ``max_rows`` from the start.
        min_rows: rows that a batch is given when they wait and half the objective allows, even where fewer would be quicker
            per row; never waited for.
        scale: factor by which the most rows are raised; and lowered, when memory runs short. 1: raised one by one, halved.
        headroom: share of memory that stays free; below it the most rows are lowered.
        max_bytes: most bytes that wait.
        guard: share of a prediction added before a promise is made with it.
        ageing: seconds that a level of priority is worth; by default a quarter of the objective.
        admission: refuse on arrival what cannot be answered in time.
        early_drop: give up the latest requests where keeping them would force small batches on all that follow.
    """

    objective: Seconds
    executors: int = 1
    max_rows: int = 64
    first_rows: int = 0
    min_rows: int = 1
    scale: Ratio = 1.0
    headroom: Ratio = 0.0
    max_bytes: Bytes = 1 << 30
    guard: Ratio = 0.05
    ageing: Seconds = 0.0
    admission: bool = True
    early_drop: bool = True

    def __post_init__(self) -> None:
        if self.objective <= 0 or min(self.executors, self.max_rows) < 1:
            raise UsageError(
                f"a policy needs a positive objective, executors and rows; got objective={self.objective}, "
                f"executors={self.executors}, max_rows={self.max_rows}."
            )
        if not self.ageing:
            object.__setattr__(self, "ageing", self.objective / 4)


def policy_of(service: Service) -> Policy:
    """Return the settings for a service."""
    return Policy(**{**asdict(service), "objective": OBJECTIVE if service.objective is None else service.objective})
