"""Evaluation in the middle of training changes nothing of it."""

from __future__ import annotations

import pytest
import torch

from strop.contract.quality import corpus_metric
from strop.contract.workload import Split
from strop.errors import WorkloadError
from strop.loop.evaluate import evaluate
from strop.loop.intents import training_of
from strop.loop.loop import TrainingLoop
from strop.loop.state import random_state
from strop.testing.models import sentences_workload


def test_it_gives_the_metric_and_leaves_mode_gradients_and_random_numbers_alone() -> None:
    workload = sentences_workload(
        forward=lambda model, batch: model(batch["input_ids"], batch["attention_mask"])["logits"] * (0 if model.training else 1)
    )
    with TrainingLoop(workload.model(), training_of(workload, 0), seed=0) as loop:
        before = random_state()["torch"]
        found = evaluate(loop, workload.metric, workload.confirming)
        assert loop.model.training and torch.equal(random_state()["torch"], before)
        assert all(p.grad is None for p in loop.model.parameters())
    model = workload.model().eval()
    right = [workload.forward(model, b).argmax(-1) == b["labels"] for b in workload.confirming.inputs]
    assert found == pytest.approx(float(torch.cat(right).float().mean()))


def test_a_metric_over_the_whole_set_sees_all_answers() -> None:
    workload = sentences_workload(
        metric=corpus_metric(lambda answers, labels: sum(map(len, answers)) + len(labels), name="count")
    )
    with TrainingLoop(workload.model(), training_of(workload, 0), seed=0) as loop:
        assert evaluate(loop, workload.metric, workload.confirming) == 16 + 2


def test_labels_that_do_not_fit_are_said() -> None:
    workload = sentences_workload()
    short = type(workload.confirming)(inputs=workload.confirming.inputs, labels=[torch.zeros(3), torch.zeros(8)])
    with (
        TrainingLoop(workload.model(), training_of(workload, 0), seed=0) as loop,
        pytest.raises(WorkloadError, match="8 examples and 3"),
    ):
        evaluate(loop, workload.metric, short)
    assert len(workload.confirming.inputs) == 2


def test_evaluation_inputs_that_forward_does_not_take_are_told_with_their_number() -> None:
    """Easily done: the batches that forward takes hold labels, so the evaluation inputs must look like that too."""
    workload = sentences_workload()
    bare = Split(inputs=[workload.confirming.inputs[0], torch.zeros(2)], labels=list(workload.confirming.labels or ())[:2])
    with (
        TrainingLoop(workload.model(), training_of(workload, 0), seed=0) as loop,
        pytest.raises(WorkloadError, match=r"failed on evaluation input 1: .*as forward takes them: whole batches"),
    ):
        evaluate(loop, workload.metric, bare)
    assert loop.model.training


def test_a_metric_over_the_whole_set_that_fails_is_named() -> None:
    workload = sentences_workload(metric=corpus_metric(lambda answers, labels: answers["none"], name="mine"))  # type: ignore[call-overload]
    with (
        TrainingLoop(workload.model(), training_of(workload, 0), seed=0) as loop,
        pytest.raises(WorkloadError, match="metric 'mine' failed on the answers: TypeError"),
    ):
        evaluate(loop, workload.metric, workload.confirming)
