"""What the user brings who has a bundle to serve, and how a bundle is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.contract.ties import Trait
from strop.errors import UsageError, WorkloadError
from strop.units import Ratio, Seconds, parse_rate, parse_seconds

SHORTEST: Seconds = 0.1
"""A window must hold more than a few requests and the end of their queue."""


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


@dataclass(frozen=True, kw_only=True)
class ServingWorkload:
    """A bundle to be served: how requests arrive, what they hold, and within which time they are to be answered.

    Attributes:
        bundle: the bundle's folder.
        objective: time from a request's scheduled arrival to its answer, for instance ``"50ms"``.
        rate: requests per second, for instance ``"200/s"``.
        arrivals: ``"poisson"``, ``"uniform"``, ``"bursts:8"``, or the path of a CSV file with one time per line, as
            ``strop load`` takes them.
        inputs: what requests hold, in the order they come and again from the start; each as one call takes it, a tensor, a
            tuple of positional or a dict of keyword arguments. Empty: random ones within the declared shapes.
        seconds: length of the windows in which two ways of serving are compared; a few hundred requests make a good one.
        name: shown in reports.
    """

    bundle: str | Path
    objective: str | Seconds = "100ms"
    rate: str | float = "100/s"
    arrivals: str | Path = "poisson"
    inputs: Sequence[Any] = ()
    seconds: str | Seconds = 2.0
    name: str = ""

    traits = frozenset({Trait.SERVING})

    def __post_init__(self) -> None:
        try:
            positive = {"objective": self.within, "rate": self.per_second, "seconds": self.window}
        except (UsageError, TypeError, ValueError) as error:
            raise WorkloadError(f"a serving workload cannot be read: {error}") from error
        for name, value in positive.items():
            if not value > 0:
                raise WorkloadError(f"{name} of a serving workload must be positive; got {getattr(self, name)!r}.")
        if self.window < SHORTEST:
            raise WorkloadError(f"seconds, the length of a window, must be {SHORTEST:g} or more; got {self.seconds!r}.")
        if not hasattr(self.inputs, "__len__"):
            raise WorkloadError(f"inputs is a {type(self.inputs).__name__}; give a list of example inputs.")

    @property
    def within(self) -> Seconds:
        """The objective in seconds."""
        return parse_seconds(self.objective) if isinstance(self.objective, str) else float(self.objective)

    @property
    def per_second(self) -> float:
        """The rate as a number."""
        return parse_rate(self.rate) if isinstance(self.rate, str) else float(self.rate)

    @property
    def window(self) -> Seconds:
        """The length of a window in seconds."""
        return parse_seconds(self.seconds) if isinstance(self.seconds, str) else float(self.seconds)
