"""Instruction 35: compile the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from strop import engines
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait
from strop.contract.workload import TrainingWorkload
from strop.measure.host import Host

ENGINE = "inductor"
COMPILED = ("OptimizedModule", "ScriptModule")
"""Compared by name: importing the compiler to ask for its class costs seconds."""


@final
@dataclass(frozen=True, kw_only=True)
class GraphCompile(Instruction):
    """Compile the model with TorchInductor: ahead of time and with frozen weights, or forward and backward of a training.

    What it does:
        Chooses the engine that traces the model into one graph and lets TorchInductor generate vectorised C++ for it.
        Freezing treats weights as constants: they are folded, packed and laid out for the kernels that read them; positions
        of a sequence that nobody reads are not computed. In
        training torch.compile makes kernels of forward and backward when the first batch comes; random numbers stay those
        of the plain training, and evaluation is not compiled. Free sizes are asked for where samples have lengths.

    Why it helps:
        Element-wise operators melt into loops over data that is still in cache, Python and dispatch vanish from the
        calls, and packed weights suit the machine's product kernels. Convolutional models gain most.

    When it does not:
        Where products already dominate. Shapes that change from call to call need kernels for free sizes, which are
        slower. The first answers wait for a C++ compiler, which must be installed where the model is opened; the first
        step of a training waits too, often longer than a short training takes.

    Settings:
        freezing: treat weights as constants; without it some models become many times slower; not in training (bool).

    References:
        Ansel et al., PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode Transformation and Graph
        Compilation, ASPLOS 2024.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT}),
        fidelity=Fidelity.ROUNDING,
        prior=1.3,
        aliases=("torch_compile",),
    )

    freezing: bool = True

    def ties(self) -> Ties:
        """Add the engine's traits; exclude every other engine, and an accelerator that answers: its packages are processors'."""
        return Ties(adds=engines.get(ENGINE).adds, excludes=frozenset({Trait.ENGINE, Trait.ACCELERATOR}))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline a model that was compiled or scripted before, with no Python left to trace, and hosts without a compiler."""
        kind = next((c.__name__ for c in type(draft.model).__mro__ if c.__name__ in COMPILED), None)
        if kind is not None:
            return f"the model is a {kind} already; give the plain module to compile it here"
        return None if draft.training is None else engines.get(ENGINE).decline(draft, host)

    def at_compile(self, draft: Draft, tally: Tally) -> None:
        """Compile the forward of a training, and with it the backward; count the graphs as they are made."""
        if not isinstance(draft.workload, TrainingWorkload):
            return  # a student that is trained on the way is trained once, and its graph is the engine's business
        from strop.surgery.compiled import compiled

        plan = draft.training
        assert plan is not None
        plan.forward = compiled(plan.forward, draft.workload.length is not None, lambda: tally.add("graphs compiled"))

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        """Hand the model to the engine."""
        if draft.engine != ENGINE:
            tally.add("model compiled")
        draft.engine = ENGINE
        self._hint(draft)

    def at_engine(self, draft: Draft, tally: Tally) -> None:
        """Say again how it was compiled, so that opening can check it."""
        self._hint(draft)

    def _hint(self, draft: Draft) -> None:
        draft.engine_options.hints["freezing"] = "on" if self.freezing else "off"
