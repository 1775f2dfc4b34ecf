"""What the run of a serving workload adds: the bundle's measured times, and what its windows cost."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strop.contract.draft import Draft
from strop.contract.workload import ServingWorkload
from strop.errors import TargetError, UsageError
from strop.measure.arm import Arm
from strop.measure.confirm import FAR_ROUND, confirm_size
from strop.measure.result import Comparison
from strop.search.run import LEAST_ROUNDS, Run
from strop.search.stand import Stand
from strop.serve.latency import Seed
from strop.trial.serving import ServingShop, Traffic, serving_draft
from strop.units import Seconds

START_TIMEOUT: Seconds = 120.0
BETWEEN: Seconds = 0.2
"""Opening and closing connections, waiting for the last late answer, continuing one server and stopping the other."""
SPARE = 1.1
"""A plan that must fit into what is left holds this many times what was estimated."""


@dataclass(slots=True, kw_only=True)
class Staging(Run):
    """The run of a serving workload.

    Attributes:
        workload: what is served.
        traffic: what is sent to it.
        shop: describes its servers.
        stand: the bench.
        logs: folder for their output.
        curve: times of calls as a server measured them, and what starting one takes: ``seeds`` and ``starting``.
    """

    workload: ServingWorkload
    traffic: Traffic
    shop: ServingShop
    stand: Stand
    logs: Path
    curve: Mapping[str, Any] = field(default_factory=dict)

    def measure_curve(self) -> None:
        """Start the server once and take down the times of calls that it begins with.

        Raises:
            UsageError: it cannot be started like this; the message is the server's own.
        """

        def ask() -> dict[str, Any]:
            arm = Arm.start(self.shop.plain(), seed=self.request.seed, log=self.logs / "plain.log")
            with contextlib.closing(arm):
                try:
                    marks = arm.load(START_TIMEOUT)
                except TargetError as error:
                    raise UsageError(error.detail) from error
                return {"seeds": arm.call("ready")["seeds"], "starting": marks["loaded"]}

        self.curve = self.ledger.step("curve", ask)

    @property
    def seeds(self) -> list[Seed]:
        """The times of calls."""
        return [Seed(**row) for row in self.curve["seeds"]]

    def draft(self) -> Draft:
        """A fresh draft of the service as it comes."""
        call = max(seed.seconds for seed in self.seeds if seed.rows == 1)
        return serving_draft(self.workload, self.traffic, call, self.request.seed)

    @property
    def window_pair(self) -> Seconds:
        """Both arms' windows, with what is between them."""
        return 2 * (self.traffic.windows.length + BETWEEN)

    @property
    def starting(self) -> Seconds:
        """Starting and warming one server."""
        return float(self.curve["starting"]) + self.window_pair / 2

    def expect(self, screened: Comparison | None = None) -> None:
        """Set aside what confirming takes; before anything was screened, of a large gain."""
        self.reserved = self.rounds_seconds(LEAST_ROUNDS, self.pairs(screened))

    def rounds_seconds(self, rounds: int, pairs: int) -> Seconds:
        """Return what ``rounds`` fresh pairs of servers take, with so many pairs of windows each."""
        return SPARE * rounds * (2 * self.starting + pairs * self.window_pair)

    def pairs(self, screened: Comparison | None) -> int:
        """Return the pairs of a round, as screening advises, but no more than the budget holds in the fewest rounds."""
        if screened is None:
            return FAR_ROUND
        wanted = confirm_size(screened.evidence["sigma"], screened.evidence["theta"], self.request.delta, self.spread)
        room = int((self.budget.left / SPARE / LEAST_ROUNDS - 2 * self.starting) / self.window_pair)
        return max(FAR_ROUND, min(wanted, room))
