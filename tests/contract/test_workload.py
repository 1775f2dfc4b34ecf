"""What the user brings holds together, or the message says what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strop.contract.quality import Quality, accuracy, agreement, corpus_metric, per_example, unjudged
from strop.contract.ties import Trait
from strop.contract.workload import InferenceWorkload, ServingWorkload, Split, TrainingWorkload, Workload
from strop.errors import WorkloadError

X = [torch.ones(1, 2) for _ in range(3)]
FULL = Split(inputs=X, labels=[0, 1, 0])
ONE = Split(inputs=X[:1], labels=[[0, 1, 0]])


def make(**changed: Any) -> InferenceWorkload:
    parts: dict[str, Any] = {
        "model": nn.Identity,
        "inputs": {"batch 1": X},
        "quality": accuracy(),
        "screening": FULL,
        "confirming": FULL,
    }
    return InferenceWorkload(**{**parts, **changed})


def test_a_workload_that_holds_together_is_taken() -> None:
    workload = make()
    assert workload.traits == {Trait.INFERENCE}
    assert make(training=FULL).traits == {Trait.INFERENCE, Trait.TEACHER}
    assert make(device="cuda:1").traits == {Trait.INFERENCE, Trait.ACCELERATOR}
    assert workload.splits == {"screening": FULL, "confirming": FULL}


@pytest.mark.parametrize("what", ["labels", "sources"])
@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_split_gives_one_of_each_per_input(what: str, count: int) -> None:
    with pytest.raises(WorkloadError, match=f"3 inputs but {count} {what}; give one per input"):
        Split(inputs=X, **{what: ["a"] * count})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": nn.Identity()}, r"got a Identity\. Give model=lambda: …"),
        ({"model": "resnet"}, "model must be a function that builds the model; got a str"),
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:N, for instance cuda:1; got 'gpu'"),
        ({"inputs": X}, "inputs must name operating points"),
        ({"inputs": {}}, "at least one operating point"),
        ({"inputs": {"a": X, "b": []}}, "each with at least one example input"),
        ({"inputs": {"a": (x for x in X)}}, "point 'a' is a generator; give a list"),
        ({"inputs": {"all": X, "b": X}}, "'all'.*stands for all points together"),
        ({"quality": Quality(name="empty")}, "neither a score nor a metric"),
        ({"screening": Split(inputs=[])}, "the screening split is empty"),
        ({"confirming": Split(inputs=())}, r"the confirming split is empty.*strop\.unjudged"),
        ({"screening": Split(inputs=X)}, "'accuracy' needs labels, and the screening split has none"),
        ({"confirming": Split(inputs=X)}, "needs labels, and the confirming split has none"),
        ({"quality": corpus_metric(lambda a, b: 0.0, name="F1"), "confirming": Split(inputs=X)}, "'F1' needs labels"),
        ({"quality": per_example(lambda a, b: 0.0, name="loss"), "screening": Split(inputs=X)}, "'loss' needs labels"),
        (
            {"quality": corpus_metric(lambda a, b: 0.0, name="F1"), "confirming": ONE},
            "'F1' .* the confirming split has one input",
        ),
    ],
)
def test_what_does_not_hold_together_is_said(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        make(**changed)


def test_agreement_with_the_original_needs_no_labels_but_needs_inputs() -> None:
    unlabelled = Split(inputs=X)
    assert make(quality=agreement(), screening=unlabelled, confirming=unlabelled).quality.against_original
    with pytest.raises(WorkloadError, match="the screening split is empty"):
        InferenceWorkload(model=nn.Identity, inputs={"batch 1": X})


def test_speed_alone_needs_no_evaluation_data() -> None:
    workload = InferenceWorkload(model=nn.Identity, inputs={"batch 1": X}, quality=unjudged("random weights"))
    assert workload.splits == {}
    assert workload.quality.unjudged == "random weights"


def test_splits_that_hold_data_are_named_in_the_order_of_use() -> None:
    workload = make(calibration=Split(inputs=X[:1]), training=Split(inputs=X[:2]))
    assert list(workload.splits) == ["calibration", "screening", "confirming", "training"]
    assert list(make(training=Split(inputs=())).splits) == ["screening", "confirming"]


def test_workloads_do_not_share_their_parts() -> None:
    make().parts["student"] = nn.Identity  # type: ignore[index]
    assert make().parts == {}


def test_one_point_may_have_any_name() -> None:
    for name in ("all", "", "größe 大"):
        assert list(make(inputs={name: X}).inputs) == [name]


def train(**changed: Any) -> TrainingWorkload:
    parts: dict[str, Any] = {
        "model": nn.Identity,
        "data": X,
        "forward": lambda model, batch: model(batch),
        "loss": lambda outputs, batch: outputs.mean(),
        "optimizer": lambda model: None,
        "metric": accuracy(),
        "confirming": FULL,
        "batch_size": 2,
    }
    return TrainingWorkload(**{**parts, **changed})


def test_a_training_workload_that_holds_together_is_taken() -> None:
    workload = train(screening=FULL)
    assert workload.traits == {Trait.TRAINING}
    for part in ("student", "teacher"):
        assert train(parts={part: nn.Identity}).traits == {Trait.TRAINING, Trait.TEACHER}
    assert workload.splits == {"screening": FULL, "confirming": FULL}
    assert isinstance(workload, Workload) and isinstance(make(), Workload)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": nn.Identity()}, r"model must be a function; got a Identity\. Give model=lambda: …"),
        ({"loss": None}, r"loss must be a function; got a NoneType\. Give loss=lambda outputs, batch: …"),
        ({"loss": nn.CrossEntropyLoss()}, "loss must be a function; got a CrossEntropyLoss"),
        ({"forward": 3}, "forward must be a function; got a int"),
        ({"optimizer": None}, r"Give optimizer=lambda model: torch\.optim\.AdamW"),
        ({"metric": None}, r"metric must say how answers are judged.*got a NoneType.*strop\.unjudged"),
        ({"metric": agreement()}, "compares with the model before training"),
        ({"metric": Quality(name="empty")}, "neither a score nor a function"),
        ({"data": []}, "data holds no sample"),
        ({"data": (x for x in X)}, "data is a generator; give something with a length"),
        ({"batch_size": 0}, "batch_size must be positive; got 0"),
        ({"micro_batch": -1}, "micro_batch must be positive"),
        ({"epochs": 0}, "epochs must be positive"),
        ({"steps": 0}, "steps must be positive"),
        ({"max_norm": float("nan")}, "max_norm must be positive; got nan"),
        ({"confirming": Split(inputs=())}, r"the confirming split is empty.*strop\.unjudged"),
        ({"confirming": Split(inputs=X)}, "needs labels, and the confirming split has none"),
        ({"screening": Split(inputs=X)}, "needs labels, and the screening split has none"),
    ],
)
def test_a_training_workload_with_a_hole_says_which(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        train(**changed)


def test_training_without_a_claim_about_quality_needs_no_evaluation_data() -> None:
    assert train(metric=unjudged("random labels"), confirming=Split(inputs=())).splits == {}


def test_a_serving_workload_reads_times_and_rates_as_the_command_line_does() -> None:
    workload = ServingWorkload(bundle="b", objective="50ms", rate="120/s", seconds="1.5s")
    assert (workload.within, workload.per_second, workload.window) == (0.05, 120.0, 1.5)
    assert workload.told == pytest.approx(0.0475), "the rest goes into the way there and back"
    plain = ServingWorkload(bundle="b", objective=0.2, rate=3, seconds=1)
    assert (plain.within, plain.per_second, plain.window, plain.arrivals) == (0.2, 3.0, 1.0, "poisson")
    assert plain.traits == {Trait.SERVING} and not plain.calibration.inputs


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "soon"}, "a serving workload cannot be read: a duration was expected"),
        ({"rate": "many"}, "a serving workload cannot be read"),
        ({"rate": 0}, "rate of a serving workload must be positive; got 0"),
        ({"objective": -1.0}, "objective of a serving workload must be positive"),
        ({"objective": float("nan")}, "objective of a serving workload must be positive"),
        ({"seconds": 0.01}, r"the length of a window, must be 0\.1 or more"),
        ({"objective": None}, "a serving workload cannot be read"),
        ({"inputs": iter([1])}, "inputs is a list_iterator; give a list"),
    ],
)
def test_a_serving_workload_that_makes_no_sense_says_why(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        ServingWorkload(bundle="b", **settings)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_labels_and_sources_may_be_arrays(kind: Any) -> None:
    split = Split(inputs=X, labels=kind([0, 1, 0]), sources=np.array(["a", "a", "b"]))
    assert list(map(int, split.labels or ())) == [0, 1, 0] and split.sources == ["a", "a", "b"]
    assert Split(inputs=X).labels is None
