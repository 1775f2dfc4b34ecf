"""Instruction 43: answer requests that wait together in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.measure.host import Host
from strop.units import show_share

COMPANY = 0.05
"""Share of requests that must arrive while the one before is being answered; below it there is next to nothing to batch."""


@final
@dataclass(frozen=True, kw_only=True)
class DynamicBatching(Instruction):
    """Let requests that wait share a call of the model, as many as the latency objective allows.

    What it does:
        As soon as an executor is idle it takes what waits, at once and without a timer: as many rows as are answered
        fastest within half the objective and as the tightest deadline allows, by the measured and learned time of a call of
        each size. What cannot be answered in time is refused on arrival or given up unexecuted, with or without batches.

    Why it helps:
        A call has a fixed price (reading the weights, dispatching operators), which the rows of a batch share. Under load
        the batches grow by themselves, and the server keeps its objective at rates at which single calls have long failed.

    When it does not:
        Requests that hardly ever meet: there it declines. Models whose time grows with every row from the first one on.
        Bundles made for a fixed number of rows. It changes answers by the rounding of larger products.

    Settings:
        max_batch_size: most rows of a call at first; raised towards max_batch while all goes well (rows).
        timeout_micros: time from arrival to answer where neither server nor workload names an objective (microseconds).
        min_batch: rows preferred when so many wait and half the objective allows; never waited for (rows).
        max_batch: most rows of a call ever (rows).
        scale_factor: by which the most rows are raised after a hundred full batches, and lowered when memory is short (factor).
        memory_headroom: share of the memory that must stay free for the most rows to be raised (share).

    References:
        NVIDIA Triton Inference Server, dynamic batcher (batch open until it is taken, no delay).
        Crankshaw et al., Clipper: A Low-Latency Online Prediction Serving System, NSDI 2017 (additive increase).
        Shen et al., Nexus: A GPU Cluster Engine for Accelerating DNN-Based Video Analysis, SOSP 2019 (early drop).
    """

    card = Card(
        aims=frozenset({Aim.GOODPUT}),
        fidelity=Fidelity.ROUNDING,
        extra="serve",
        prior=2.0,
        aliases=("batch_dynamic_threshold",),
    )

    max_batch_size: Annotated[int, Choices(32, 8, 64)] = 32
    timeout_micros: int = 50_000
    min_batch: Annotated[int, Choices(8, 1, 16)] = 8
    max_batch: int = 64
    scale_factor: float = 1.5
    memory_headroom: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.min_batch <= self.max_batch or not 1 <= self.max_batch_size <= self.max_batch:
            raise ValueError(
                f"min_batch and max_batch_size must be from 1 to max_batch, got min_batch={self.min_batch}, "
                f"max_batch_size={self.max_batch_size}, max_batch={self.max_batch}"
            )
        if self.timeout_micros < 1:
            raise ValueError(f"timeout_micros must be at least 1, got {self.timeout_micros}")
        if not self.scale_factor > 1:
            raise ValueError(f"scale_factor must be more than 1, got {self.scale_factor:g}")
        if not 0 <= self.memory_headroom < 1:
            raise ValueError(f"memory_headroom is a share and must be from 0 to below 1, got {self.memory_headroom:g}")

    def ties(self) -> Ties:
        """Need a serving workload."""
        return ties(needs=(Trait.SERVING,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline a bundle with a fixed number of rows, and arrivals that leave nothing to batch."""
        notes = draft.facts.notes
        if not notes.get("batchable", 1.0):
            return "the bundle was made for a fixed number of rows; make one from examples of different batch sizes"
        company = notes.get("company")
        if company is not None and company < COMPANY:
            return (
                f"only {show_share(company)} of the requests arrive while another is being answered, so there is nothing to batch"
            )
        return None

    def at_serve(self, draft: Draft, tally: Tally) -> None:
        """Set the service; count the rows that a call may hold beyond the one it held before."""
        service = draft.service
        tally.add("rows a call may hold beyond one request's", max(0, self.max_batch - service.max_rows))
        service.max_rows, service.first_rows = self.max_batch, self.max_batch_size
        service.min_rows, service.scale, service.headroom = self.min_batch, self.scale_factor, self.memory_headroom
        if service.objective is None:
            service.objective = self.timeout_micros / 1e6
