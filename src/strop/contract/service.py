"""How a bundle is served."""

from __future__ import annotations

from dataclasses import dataclass

from strop.units import Ratio, Seconds


@dataclass(slots=True, kw_only=True)
class Service:
    """How requests become calls; instructions change it at SERVE. As it comes, every request is a call of its own.

    Attributes:
        objective: time from arrival to answer that every request is given; ``None``: nobody has said.
        executors: calls made side by side.
        max_rows: most rows of a call.
        first_rows: most rows at first, raised to ``max_rows`` bit by bit; 0: ``max_rows`` from the start.
        min_rows: rows that a call is given when they wait and the objective allows; never waited for.
        scale: factor by which the most rows are raised and lowered; 1: raised one by one, halved.
        headroom: share of memory that stays free.
    """

    objective: Seconds | None = None
    executors: int = 1
    max_rows: int = 1
    first_rows: int = 0
    min_rows: int = 1
    scale: Ratio = 1.0
    headroom: Ratio = 0.0
