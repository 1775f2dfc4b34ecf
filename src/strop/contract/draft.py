"""The trial's private, mutable state that moments work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from strop.contract.device import PROCESSOR
from strop.contract.pytree import is_module
from strop.contract.service import Service
from strop.contract.signature import Signature
from strop.contract.tally import Tally
from strop.contract.training import Training
from strop.contract.workload import InferenceWorkload, Workload

if TYPE_CHECKING:
    from torch import nn

Linear = Literal["product", "convolution"]
"""How linear layers run; see :attr:`EngineOptions.linear`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a model before anything is tried; cheap, read-only, JSON-able.

    Attributes:
        parameters: number of parameters.
        weight_bytes: bytes of parameters and buffers.
        modules: class name → how often it occurs.
        matrix_weights: ``"linear"``, ``"recurrent"`` or ``"convolution"`` → elements of weights that take part in products.
        points: operating point → number of example inputs.
        splits: split → number of inputs.
        depth: like blocks in its longest stack; 0: it has none.
        elements: operating point or ``"training"`` → array elements of all its inputs together.
        dynamic: an input dimension other than the first, the batch, varies.
        notes: anything the diagnosis adds, for instance ``{"compute_bound": 1.0}``; of a serving workload ``batchable`` (0 or 1)
            and ``company``, the share of requests that arrive while the one before is being answered.
    """

    parameters: int = 0
    weight_bytes: int = 0
    modules: Mapping[str, int] = field(default_factory=dict)
    matrix_weights: Mapping[str, int] = field(default_factory=dict)
    points: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    elements: Mapping[str, int] = field(default_factory=dict)
    dynamic: bool = False
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Precision:
    """Intent: run floating-point operators in ``dtype``."""

    dtype: Literal["bfloat16", "float16"]
    tally: Tally


@dataclass(slots=True, kw_only=True)
class Quantization:
    """Intent: run eligible operators in int8 (instructions 28, 29 and 30 are settings of this one intent).

    Attributes:
        mode: ``static`` uses ranges calibrated beforehand, ``dynamic`` takes them from each input.
        symmetric: activations symmetric about zero; else asymmetric where the engine's default is.
        per_channel: one scale per output channel of a weight.
        range_estimator: how ``static`` finds ranges.
        smooth: strength of activation smoothing for transformers, 0 to 1; ``None`` leaves it to the engine.
        keep_float: operators that stay in floating point, by name as the engine's ``sensitivity`` reported them.
        tally: counts quantised operators.
        sensitivity: filled by the engine at lowering: operator name → how far its int8 output departs, largest first; stays
            empty where the workload claims no quality.
    """

    mode: Literal["static", "dynamic"]
    symmetric: bool = False
    per_channel: bool = True
    range_estimator: Literal["minmax", "mean_minmax", "percentile"] = "minmax"
    smooth: float | None = None
    keep_float: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)
    sensitivity: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Graphs:
    """Intent: launch an accelerator's kernels by graphs that were captured once per shape of the inputs.

    Attributes:
        shapes: most shapes that are captured; calls of further ones are launched kernel by kernel.
        tally: counts the shapes of the examples that are captured, and those that are not.
    """

    shapes: int
    tally: Tally


@dataclass(slots=True, kw_only=True)
class EngineOptions:
    """Options of opening an artefact; not part of the artefact itself.

    Attributes:
        threads: cores one call uses; 0 = all.
        streams: calls executed side by side.
        buckets: shape buckets per varying dimension: inputs are padded up to the nearest; empty = exact shapes.
        trim: answer the rows of a padded batch sorted by length, in groups padded to their own buckets; needs ``buckets``.
        pin: bind threads to cores.
        linear: run linear layers of fixed size as products, or as convolutions of width one.
        hints: engine-specific string options.
    """

    threads: int = 0
    streams: int = 1
    buckets: int = 0
    trim: bool = False
    pin: bool = False
    linear: Linear = "product"
    hints: dict[str, str] = field(default_factory=dict)


NO_SIGNATURE = Signature(inputs=(), input_tree={}, outputs=(), output_tree={})


class Built:
    """A model, or a function that builds it when it is first asked for: a recipe that finds its graph made needs none."""

    def __set__(self, draft: Draft, value: nn.Module | Callable[[], nn.Module]) -> None:
        draft.__dict__["model"] = value

    def __get__(self, draft: Draft | None, owner: type[Draft]) -> nn.Module:
        if draft is None:
            raise AttributeError("a draft's model has no default")  # which is how a dataclass asks for one
        if not is_module(draft.__dict__["model"]):
            draft.__dict__["model"] = draft.__dict__["model"]()
        model: nn.Module = draft.__dict__["model"]
        return model


@dataclass(kw_only=True)
class Draft:
    """Everything a trial works on. Each trial builds its own; the user's model is never touched.

    Attributes:
        model: the trial's own model, in eval mode for inference; given as a module or as a function that builds it.
        workload: what the user brought.
        facts: what was known before the trial.
        seed: of every random choice in the trial.
        signature: inputs and outputs of the original model; empty where it is only trained.
        examples: example inputs over all operating points, largest first.
        training: what the loop will do; ``None`` where nothing is trained.
        teacher: the model that another one, in its place, learns from; set at SOURCE.
        engine: name of the engine that will run the model.
        lowering: counts what the engine changes by itself, whatever the intents.
        precision: intent declared at LOWER.
        quantization: intent declared at LOWER.
        graphs: intent declared at LOWER.
        layout: memory layout of four-dimensional activations and weights.
        engine_options: options of opening, set at ENGINE.
        service: how requests become calls, set at SERVE.
    """

    model: Built = Built()
    workload: Workload
    facts: Facts
    seed: int
    signature: Signature = NO_SIGNATURE
    examples: Sequence[Any] = ()
    training: Training | None = None
    teacher: nn.Module | None = None
    engine: str = "eager"
    lowering: Tally = field(default_factory=Tally)
    precision: Precision | None = None
    quantization: Quantization | None = None
    graphs: Graphs | None = None
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    engine_options: EngineOptions = field(default_factory=EngineOptions)
    service: Service = field(default_factory=Service)

    @property
    def device(self) -> str:
        """Where the model and the examples are, and where answers are computed: what an inference workload says.

        A training finds its accelerator by itself (``strop.loop.ranks.device``), and a service has its bundle's.
        """
        return self.workload.device if isinstance(self.workload, InferenceWorkload) else PROCESSOR

    @property
    def judged(self) -> bool:
        """Whether a loss of quality would be found, so that something may have to be handed back for it."""
        return not (isinstance(self.workload, InferenceWorkload) and self.workload.quality.unjudged)
