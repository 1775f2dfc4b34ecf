"""Batches of one shape hold every input once an epoch, unpadded, and the loss counts only what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from strop.contract.training import Training
from strop.contract.workload import Split
from strop.loop.loop import TrainingLoop
from strop.loop.transfer import UNKNOWN, class_labels, joined, transfer
from strop.testing.models import Deep, TinyAttention

SENTENCES = [
    {"input_ids": torch.randint(0, 50, (1, 3 + n % 4)), "attention_mask": torch.ones(1, 3 + n % 4).long()} for n in range(30)
]


def planned(split: Split, **changes: Any) -> Training:
    settings = {"seed": 0, "batch": 4, "epochs": 2, "steps": None, "learning_rate": 1e-2, "labelled": True}
    return transfer(split, **{**settings, **changes})


def test_every_input_comes_once_an_epoch_in_batches_of_one_shape() -> None:
    plan = planned(Split(inputs=SENTENCES))
    for epoch in range(2):
        assert sorted(number for batch in plan.batches(epoch) for number in batch) == list(range(30))
        for batch in plan.batches(epoch):
            assert len(batch) <= 4
            assert len({SENTENCES[number]["input_ids"].shape for number in batch}) == 1


def test_batches_hold_the_same_inputs_in_every_epoch_and_come_in_another_order() -> None:
    plan = planned(Split(inputs=SENTENCES))
    first, second = ([tuple(batch) for batch in plan.batches(epoch)] for epoch in range(2))
    assert first != second and sorted(first) == sorted(second)
    assert first == [tuple(batch) for batch in planned(Split(inputs=SENTENCES)).batches(0)]
    assert first != [tuple(batch) for batch in planned(Split(inputs=SENTENCES), seed=1).batches(0)]


def test_no_crumbs_stand_behind_full_batches() -> None:
    plan = planned(Split(inputs=[torch.zeros(1, 8)] * 9), batch=8)
    assert sorted(map(len, plan.batches(0))) == [4, 5]


def test_a_joined_batch_answers_what_its_inputs_answer_alone() -> None:
    plan, model = planned(Split(inputs=SENTENCES)), TinyAttention().eval()
    numbers = plan.batches(0)[0]
    together = plan.forward(model, joined([plan.data[number] for number in numbers]))["logits"]
    apart = torch.cat([model(**SENTENCES[number])["logits"] for number in numbers])
    torch.testing.assert_close(together, apart)


def test_inputs_of_many_rows_fill_a_batch_by_rows() -> None:
    plan = planned(Split(inputs=[torch.zeros(4, 8)] * 6, labels=[np.arange(4) % 3] * 6), batch=8)
    assert sorted(map(len, plan.batches(0))) == [2, 2, 2]
    batch = joined([plan.data[number] for number in plan.batches(0)[0]])
    assert batch.labels.tolist() == [0, 1, 2, 0] * 2 and plan.items is not None and plan.items(batch) == 8


def test_an_input_with_a_number_beside_its_rows_is_learned_alone() -> None:
    plan = planned(Split(inputs=[(torch.zeros(1, 8), torch.tensor(n)) for n in range(3)]))
    assert sorted(map(len, plan.batches(0))) == [1, 1, 1]


def test_the_loss_is_that_of_known_classes_and_zero_elsewhere() -> None:
    rows = torch.randn(4, 8)
    plan = planned(Split(inputs=list(rows.split(1)), labels=[2, None, np.int64(0), None]))
    numbers = [0, 1, 2, 3]
    batch, logits = joined([plan.data[number] for number in numbers]), torch.randn(4, 3)
    assert batch.labels.tolist() == [2, UNKNOWN, 0, UNKNOWN]
    known = functional.cross_entropy(logits[[0, 2]], torch.tensor([2, 0]), reduction="none")
    assert plan.loss(logits, batch).tolist() == [known[0], 0, known[1], 0]


@pytest.mark.parametrize("changes", [{"labels": [0, 1, 2]}, {}], ids=["not looked at", "none"])
def test_without_labels_there_is_no_loss(changes: dict[str, Any]) -> None:
    plan = planned(Split(inputs=[torch.zeros(1, 8)] * 3, **changes), labelled=False)
    assert plan.loss(torch.randn(3, 3), joined(list(plan.data))).tolist() == [0, 0, 0]


def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing() -> None:
    plan, rates = planned(Split(inputs=[torch.randn(1, 8)] * 40, labels=[0] * 40), epochs=4), list[float]()
    with TrainingLoop(Deep(), plan, seed=0) as loop:
        while loop.step < loop.total:
            rates.append(loop.optimizer.param_groups[0]["lr"])
            loop.run(1)
    assert len(rates) == 40 and max(rates) == 1e-2 and rates.index(1e-2) == 3 and rates[-1] == pytest.approx(1e-2 / 36)
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)


def test_steps_end_it_before_the_epochs_do() -> None:
    plan = planned(Split(inputs=[torch.randn(1, 8)] * 40, labels=[0] * 40), steps=3)
    with TrainingLoop(Deep(), plan, seed=0) as loop:
        loop.run()
    assert loop.step == 3


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([0, 1], True), ([np.array([1, 0]), None], True), ([True, False], True), ([0.5, 1.0], False), (None, True)],
)
def test_classes_are_told_from_other_labels(labels: Any, classes: bool) -> None:
    assert class_labels(Split(inputs=[torch.zeros(1, 8)] * 2, labels=labels)) is classes
