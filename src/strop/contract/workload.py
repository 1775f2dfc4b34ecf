"""What the user brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from strop.contract.device import PROCESSOR, check_device
from strop.contract.pytree import is_module
from strop.contract.quality import Quality, agreement
from strop.contract.ties import Trait
from strop.errors import UsageError, WorkloadError
from strop.units import Ratio, Seconds, parse_rate, parse_seconds

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


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
            if values is None:
                continue
            if len(values) != len(self.inputs):
                raise WorkloadError(f"a split has {len(self.inputs)} inputs but {len(values)} {what}; give one per input.")
            object.__setattr__(self, what, list(values))  # an array of them has no truth value


NO_DATA = Split(inputs=())

ON_THE_WAY: Ratio = 0.05
"""Share of the objective that is left for what a server does not see. A server that uses all of it up answers just too late
when it has more to do than it can."""

SHORTEST: Seconds = 0.1
"""A window must hold more than a few requests and the end of their queue."""


@dataclass(frozen=True, kw_only=True)
class InferenceWorkload:
    """A model to be called: how to build it, what it is called with, and how its answers are judged.

    Attributes:
        model: builds the model; called in each process that needs one, so it must not depend on outside state. It is put into
            evaluation mode, whatever mode it comes in.
        inputs: operating points: name → example inputs that are representative of its traffic.
        quality: how answers are judged; default: agreement with the original model, which needs no labels.
        screening: evaluation data that the search may look at again and again.
        confirming: evaluation data touched only to confirm; disjoint from everything else.
        calibration: inputs for calibrating; disjoint from the evaluation data.
        training: data for techniques that train; optional. Its labels, where there are any, may be ``None`` for some inputs.
        parts: named extra things an instruction may ask for (a student, an encoder); each builds its part.
        device: where the model answers, as torch writes it: ``cpu``, ``cuda`` or ``cuda:N``. It is moved there; inputs come
            from the processor's memory and answers go back to it, which is part of the time of a call.
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
    device: str = PROCESSOR
    name: str = ""

    @property
    def traits(self) -> frozenset[Trait]:
        """What a recipe finds here; the original can teach a student where there is data to train on."""
        found = {Trait.INFERENCE: True, Trait.TEACHER: self.training is not None, Trait.ACCELERATOR: self.device != PROCESSOR}
        return frozenset(trait for trait, there in found.items() if there)

    def __post_init__(self) -> None:
        if is_module(self.model) or not callable(self.model):
            raise WorkloadError(
                f"model must be a function that builds the model; got a {type(self.model).__name__}. Give model=lambda: …"
            )
        check_device(self.device)
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
            if self.quality.metric is not None and len(split.inputs) < 2:
                raise WorkloadError(
                    f"quality {self.quality.name!r} is one number for a whole split, judged by drawing from its inputs, and the "
                    f"{name} split has one input; give its examples as more inputs."
                )

    @property
    def splits(self) -> dict[str, Split]:
        """The named splits that hold data, in the order of use."""
        named = {"calibration": self.calibration, "screening": self.screening, "confirming": self.confirming}
        if self.training is not None:
            named["training"] = self.training
        return {name: split for name, split in named.items() if len(split.inputs)}


@dataclass(frozen=True, kw_only=True)
class TrainingWorkload:
    """A model to be trained: how to build it, its samples, its loss, its optimizer, and how the result is judged.

    Attributes:
        model: builds the model; called in each process that needs one, so it must not depend on outside state.
        data: training samples, anything with a length that gives a sample for each number.
        forward: ``(model, batch)`` → outputs.
        loss: ``(outputs, batch)`` → a scalar, the mean over the batch's items; or one value per sample, the sum over that
            sample's items.
        optimizer: ``(model)`` → a ``torch.optim.Optimizer`` over its parameters.
        metric: how answers to the evaluation data are judged.
        confirming: evaluation data; its inputs are batches as ``forward`` takes them. Judged before and after training.
        screening: evaluation data that is judged after each epoch; optional, disjoint from ``confirming``.
        calibration: inputs for calibrating what is quantised after training; optional.
        batch_size: samples per optimizer step.
        micro_batch: samples that go forward at once, their gradients added up; ``None``: the whole batch.
        epochs: passes over the data.
        steps: optimizer steps at most; ``None``: as many as the epochs have.
        collate: list of samples → batch; ``None``: ``torch.utils.data.default_collate``.
        items: batch → how many items the loss is the mean of, for instance tokens; ``None``: its samples.
        length: sample → its length, for instance in tokens; techniques that sort by length ask for it.
        label: sample → its class, a number from 0; techniques that look at classes ask for it.
        max_norm: gradients are clipped to this norm; ``None``: not.
        parts: named extra things an instruction may ask for (a teacher, an encoder); each builds its part.
        name: shown in reports.
    """

    model: Callable[[], nn.Module]
    data: Sequence[Any]
    forward: Callable[[nn.Module, Any], Any]
    loss: Callable[[Any, Any], Tensor]
    optimizer: Callable[[nn.Module], Optimizer]
    metric: Quality
    confirming: Split = NO_DATA
    screening: Split = NO_DATA
    calibration: Split = NO_DATA
    batch_size: int
    micro_batch: int | None = None
    epochs: int = 1
    steps: int | None = None
    collate: Callable[[list[Any]], Any] | None = None
    items: Callable[[Any], int] | None = None
    length: Callable[[Any], int] | None = None
    label: Callable[[Any], int] | None = None
    max_norm: float | None = None
    parts: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    name: str = ""

    @property
    def traits(self) -> frozenset[Trait]:
        """What a recipe finds here; there is a teacher where one is named, or a student that the model can teach."""
        return frozenset({Trait.TRAINING} | ({Trait.TEACHER} if {"teacher", "student"} & set(self.parts) else set()))

    def __post_init__(self) -> None:
        for name in ("model", "forward", "loss", "optimizer"):
            value = getattr(self, name)
            if is_module(value) or not callable(value):
                raise WorkloadError(f"{name} must be a function; got a {type(value).__name__}. {HOW[name]}")
        if not isinstance(self.metric, Quality):
            raise WorkloadError(
                f"metric must say how answers are judged, as strop.accuracy() does; got a {type(self.metric).__name__}. "
                f"Give strop.unjudged('why') for a result without one."
            )
        self._check_data()
        for name in ("batch_size", "micro_batch", "epochs", "steps", "max_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise WorkloadError(f"{name} must be positive; got {value}.")
        if self.metric.unjudged:
            return
        if self.metric.against_original:
            raise WorkloadError(
                f"metric {self.metric.name!r} compares with the model before training, from which training is meant to depart; "
                f"use strop.accuracy(), strop.per_example(…) or strop.corpus_metric(…)."
            )
        if self.metric.score is None and self.metric.metric is None:
            raise WorkloadError("metric has neither a score nor a function; use strop.accuracy(), strop.per_example(…) …")
        if not len(self.confirming.inputs):
            raise WorkloadError(
                "the confirming split is empty, so nothing could show what training achieved. Give evaluation batches with "
                "labels, or metric=strop.unjudged('why')."
            )
        for name, split in self.splits.items():
            if split.labels is None and name != "calibration":
                raise WorkloadError(f"metric {self.metric.name!r} needs labels, and the {name} split has none.")

    def _check_data(self) -> None:
        if not hasattr(self.data, "__len__") or not hasattr(self.data, "__getitem__"):
            raise WorkloadError(
                f"data is a {type(self.data).__name__}; give something with a length that gives a sample for each number, "
                f"for instance a list or a map-style Dataset."
            )
        if not len(self.data):
            raise WorkloadError("data holds no sample, so there is nothing to train on.")

    @property
    def splits(self) -> dict[str, Split]:
        """The named evaluation and calibration splits that hold data, in the order of use."""
        named = {"calibration": self.calibration, "screening": self.screening, "confirming": self.confirming}
        return {name: split for name, split in named.items() if len(split.inputs)}


HOW = {
    "model": "Give model=lambda: …, which builds it.",
    "forward": "Give forward=lambda model, batch: …, which returns the outputs.",
    "loss": "Give loss=lambda outputs, batch: …, which returns a scalar or one value per sample.",
    "optimizer": "Give optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=…).",
}
"""What to give where a function is missing."""


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
    calibration: ClassVar[Split] = NO_DATA
    """A bundle was calibrated when it was made."""

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
    def parts(self) -> Mapping[str, Callable[[], Any]]:
        """None: a bundle holds all there is."""
        return {}

    @property
    def within(self) -> Seconds:
        """The objective in seconds."""
        return parse_seconds(self.objective) if isinstance(self.objective, str) else float(self.objective)

    @property
    def told(self) -> Seconds:
        """The objective that the server is given: some of the time goes into the way there and back."""
        return (1 - ON_THE_WAY) * self.within

    @property
    def per_second(self) -> float:
        """The rate as a number."""
        return parse_rate(self.rate) if isinstance(self.rate, str) else float(self.rate)

    @property
    def window(self) -> Seconds:
        """The length of a window in seconds."""
        return parse_seconds(self.seconds) if isinstance(self.seconds, str) else float(self.seconds)


Workload = InferenceWorkload | TrainingWorkload | ServingWorkload
"""Any kind of workload."""
