"""What the user brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strop.contract.pytree import is_module
from strop.contract.quality import Quality, agreement
from strop.contract.ties import Trait
from strop.errors import WorkloadError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A named part of the data.

    Attributes:
        inputs: what one call takes each: a tensor, a tuple of positional or a dict of keyword arguments.
        labels: one entry per input; for a batched input an array with one label per example. ``None``: unlabelled.
        sources: one name per input saying where it came from; inputs of one source are related (crops of one picture,
            sentences of one document) and are counted as one cluster. ``None``: all independent.
    """

    inputs: Sequence[Any]
    labels: Sequence[Any] | None = None
    sources: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for what, values in (("labels", self.labels), ("sources", self.sources)):
            if values is not None and len(values) != len(self.inputs):
                raise WorkloadError(f"a split has {len(self.inputs)} inputs but {len(values)} {what}; give one per input.")


NO_DATA = Split(inputs=())


@dataclass(frozen=True, kw_only=True)
class InferenceWorkload:
    """A model to be called: how to build it, what it is called with, and how its answers are judged.

    Attributes:
        model: builds the model; called in each process that needs one, so it must not depend on outside state.
        inputs: operating points: name → example inputs that are representative of its traffic.
        quality: how answers are judged; default: agreement with the original model, which needs no labels.
        screening: evaluation data that the search may look at again and again.
        confirming: evaluation data touched only to confirm; disjoint from everything else.
        calibration: inputs for calibrating; disjoint from the evaluation data.
        training: labelled data for techniques that train; optional.
        parts: named extra things an instruction may ask for (a student, an encoder); each builds its part.
        name: shown in reports.
    """

    model: Callable[[], nn.Module]
    inputs: Mapping[str, Sequence[Any]]
    quality: Quality = field(default_factory=agreement)
    screening: Split = NO_DATA
    confirming: Split = NO_DATA
    calibration: Split = NO_DATA
    training: Split | None = None
    parts: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    name: str = ""

    traits = frozenset({Trait.INFERENCE})

    def __post_init__(self) -> None:
        if is_module(self.model) or not callable(self.model):
            raise WorkloadError(
                f"model must be a function that builds the model; got a {type(self.model).__name__}. Give model=lambda: …"
            )
        if not isinstance(self.inputs, Mapping):
            raise WorkloadError("inputs must name operating points: {'batch 1': [example, ...]}.")
        for point, examples in self.inputs.items():
            if not hasattr(examples, "__len__"):
                raise WorkloadError(f"inputs of point {point!r} is a {type(examples).__name__}; give a list of example inputs.")
        if "all" in self.inputs and len(self.inputs) > 1:
            raise WorkloadError("an operating point among several cannot be named 'all', which stands for all points together.")
        if not self.inputs or any(len(examples) == 0 for examples in self.inputs.values()):
            raise WorkloadError("inputs must hold at least one operating point, each with at least one example input.")
        if self.quality.unjudged:
            return
        if self.quality.score is None and self.quality.metric is None:
            raise WorkloadError("quality has neither a score nor a metric; use strop.accuracy(), strop.per_example(…) …")
        for name, split in (("screening", self.screening), ("confirming", self.confirming)):
            if not len(split.inputs):
                raise WorkloadError(
                    f"the {name} split is empty, so no candidate could show that it keeps the quality. Give evaluation "
                    f"inputs, or quality=strop.unjudged('why') for a result about speed only."
                )
            if split.labels is None and not self.quality.against_original:
                raise WorkloadError(f"quality {self.quality.name!r} needs labels, and the {name} split has none.")

    @property
    def splits(self) -> dict[str, Split]:
        """The named splits that hold data, in the order of use."""
        named = {"calibration": self.calibration, "screening": self.screening, "confirming": self.confirming}
        if self.training is not None:
            named["training"] = self.training
        return {name: split for name, split in named.items() if len(split.inputs)}


Workload = InferenceWorkload
"""Any kind of workload; training and serving kinds join this union when they are built."""
