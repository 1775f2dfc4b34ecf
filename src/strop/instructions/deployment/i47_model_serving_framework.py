"""Instruction 47: choose the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from strop import engines
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.device import processor_only
from strop.contract.draft import Draft, Facts, Linear
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices, Space, annotated_space
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait
from strop.measure.host import Host

MAX_BUCKETS = 4
"""More shapes compile for seconds and fill caches for a few per cent (measured: nine took 4.2 s and 561 MB)."""


@final
@dataclass(frozen=True, kw_only=True)
class ModelServingFramework(Instruction):
    """Lower the model to a runtime made for inference.

    What it does:
        Chooses the engine that executes the model. Its graph is exported once, simplified, and written into the bundle;
        opening the bundle needs neither the model's code nor torch. Where only some positions of a sequence are read, such
        as a classifier's first token, operators before it compute those alone. ``buckets`` pads a varying dimension up to a few
        sizes, each compiled at first use, where a runtime is faster on fixed shapes. ``trim`` sorts the rows of a padded
        batch by length and answers them in groups of 8, each padded to a bucket of its own.

    Why it helps:
        The runtime sees the whole graph: it folds constants, fuses operators, chooses memory layouts and plans memory
        once, and spends microseconds where eager Python spends them per operator.

    When it does not:
        Accelerators: both engines are built for processors here. Models whose Python control flow cannot be exported;
        LSTM and GRU layers over a varying number of steps pass only to ONNX Runtime. One large product per call already
        runs at the machine's limit. Padding to a bucket costs more than fixed shapes save when sizes are spread evenly.

    Settings:
        engine: the runtime (name).
        buckets: padded sizes per varying dimension, 0 to 4; 0 keeps exact shapes (count).
        trim: regroup the rows of batches by length; needs buckets, and an input that masks the padding (bool).
        streams: calls executed side by side; more raise throughput and latency (count).
        linear: how linear layers run: as products, or, on OpenVINO and where no size but the batch varies, as convolutions of
            width one, whose kernels share long inputs of wide layers out between threads better (name).

    References:
        ONNX Runtime and OpenVINO documentation, chapters on graph optimisation and performance hints.
        Chen et al., TVM: An Automated End-to-End Optimizing Compiler for Deep Learning, OSDI 2018.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT, Aim.MEMORY, Aim.SIZE}),
        fidelity=Fidelity.ROUNDING,
        enabler=True,
        prior=2.5,
        aliases=("engine",),
    )

    opening: ClassVar[frozenset[str]] = frozenset({"buckets", "trim", "streams", "linear"})

    engine: Annotated[Literal["openvino", "onnxruntime"], Choices("openvino", "onnxruntime")] = "openvino"
    buckets: Annotated[int, Choices(0, 3)] = 0
    trim: Annotated[bool, Choices(False, True)] = False
    streams: int = 1
    linear: Annotated[Linear, Choices("product", "convolution")] = "product"

    def __post_init__(self) -> None:
        if not 0 <= self.buckets <= MAX_BUCKETS:
            raise ValueError(f"buckets must be between 0 and {MAX_BUCKETS}, got {self.buckets}")
        if self.trim and not self.buckets:
            raise ValueError("trim pads groups of rows to buckets; set buckets to 1 or more, or trim to false")
        if self.streams < 1:
            raise ValueError(f"streams must be at least 1, got {self.streams}")
        if self.linear == "convolution" and self.engine != "openvino":
            raise ValueError("linear layers run as convolutions on openvino only; choose that engine, or linear: product")

    def ties(self) -> Ties:
        """Add the engine's traits; exclude every other engine, and accelerators, on which neither runs."""
        return Ties(adds=engines.get(self.engine).adds, excludes=frozenset({Trait.ENGINE, Trait.ACCELERATOR}))

    def space(self, facts: Facts, host: Host) -> Space:
        """Offer buckets only where a dimension varies and the engine has them, regrouping of rows only on top of them, and
        linear layers as convolutions only in stacks of blocks where no size but the batch varies and most products are linear."""
        choices = dict(annotated_space(type(self)))
        if not facts.dynamic or not engines.get(self.engine).buckets or self.trim:
            del choices["buckets"]
        if self.buckets:
            del choices["engine"]
        else:
            del choices["trim"]
        if facts.dynamic or self.engine != "openvino" or not _linear_blocks(facts):
            del choices["linear"]
        elif self.linear == "convolution":
            choices.pop("engine", None)
        return choices

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline accelerators, buckets where no dimension varies, and more streams than cores."""
        if elsewhere := processor_only(self.engine, draft.device):
            return elsewhere
        if self.buckets and not draft.facts.dynamic:
            return f"buckets={self.buckets} was asked for, but all example inputs have one shape"
        if self.linear == "convolution" and draft.facts.dynamic:
            return "linear layers as convolutions were asked for, but the sizes of the example inputs vary"
        if self.streams > host.cores:
            return f"streams={self.streams} was asked for, but the host gives {host.cores} cores"
        return None

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        """Hand the model to the engine."""
        if draft.engine != self.engine:
            tally.add(f"model lowered to {self.engine}")
        draft.engine = self.engine

    def at_engine(self, draft: Draft, tally: Tally) -> None:
        """Set how the artefact is opened."""
        draft.engine_options.buckets = self.buckets
        draft.engine_options.trim = self.trim
        draft.engine_options.streams = self.streams
        draft.engine_options.linear = self.linear


def _linear_blocks(facts: Facts) -> bool:
    convolutions = sum(count for name, count in facts.modules.items() if name.startswith("Conv"))
    return facts.depth > 0 and facts.modules.get("Linear", 0) > convolutions
