"""Instruction 36: replay captured launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from strop.contract.card import Aim, Card, Fidelity, Life
from strop.contract.device import PROCESSOR
from strop.contract.draft import Draft, Graphs
from strop.contract.instruction import Instruction
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class CudaGraph(Instruction):
    """Capture the launches of a forward once per shape in a CUDA graph, and replay them by one launch.

    What it does:
        Declares that the eager engine captures the model's forward for the shapes of the example inputs, the most frequent
        first, when the bundle is opened, and for shapes met later when they first come. Inputs are copied into the memory
        that was captured with, the graph is replayed, and the answer is copied out. All graphs share one pool of memory.
        While it is prepared, the examples' replayed answers are compared with the plain ones.

    Why it helps:
        A small model on a large accelerator waits for its processor: each operator passes Python and the dispatcher to start
        a kernel of a few microseconds. A graph starts all of them at once, in the order in which they were captured.

    When it does not:
        Models whose kernels take longer than it takes to start them. A model that looks at the values of its tensors
        (data-dependent control flow, a copy to the processor) cannot be captured, and fails to prepare. Each new shape costs
        a capture, tens of milliseconds, and memory; shapes beyond the bound are launched kernel by kernel, and counted.
        Opening takes longer by the captures. Calls from several threads run one after the other.

    Settings:
        shapes: most shapes of inputs that are captured, 1 or more (count).

    References:
        CUDA C++ Programming Guide, chapter on CUDA Graphs.
        PyTorch documentation, CUDA semantics, section on CUDA Graphs.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT}),
        fidelity=Fidelity.ROUNDING,
        life=Life.PREVIEW,
        prior=2.0,
        aliases=("cuda_graphs",),
    )

    shapes: int = 64

    def __post_init__(self) -> None:
        if self.shapes < 1:
            raise ValueError(f"shapes must be at least 1, got {self.shapes}")

    def ties(self) -> Ties:
        """Need an accelerator and the eager engine: other engines launch their own kernels."""
        return ties(needs=(Trait.ACCELERATOR, Trait.EAGER_ENGINE), excludes=(Trait.ENGINE,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline where the processor answers: there are no launches to save."""
        if draft.device == PROCESSOR:
            return "CUDA graphs save launches on an accelerator, and this workload is on the processor: device='cpu'"
        return None

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        """Declare the graphs; the engine captures, compares and counts."""
        draft.graphs = Graphs(shapes=self.shapes, tally=tally)
