"""What a workload asks of its training, before any instruction has spoken."""

from __future__ import annotations

import torch

from strop.loop.intents import chunks, order, shuffled, training_of
from strop.testing.models import sentences_workload


def test_each_sample_comes_once_an_epoch_in_another_order_each_time() -> None:
    batches = shuffled(10, 4, seed=3)
    assert [len(batch) for batch in batches(0)] == [4, 4, 2]
    assert sorted(number for batch in batches(0) for number in batch) == list(range(10))
    assert batches(0) == batches(0) != batches(1)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(0)
    first = order(50, 1, 2)
    torch.rand(3)
    assert order(50, 1, 2) == first
    assert len({tuple(order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_a_batch_is_cut_into_micro_batches_only_where_asked() -> None:
    assert chunks([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert training_of(sentences_workload(), 0).split(list(range(8))) == [list(range(8))]
    assert training_of(sentences_workload(micro_batch=3), 0).split(list(range(8))) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_samples_without_a_collate_function_become_one_batch_of_tensors() -> None:
    training = training_of(sentences_workload(collate=None), 0)
    numbers, labels = training.collate([(torch.ones(2), 1), (torch.zeros(2), 0)])
    assert numbers.shape == (2, 2) and labels.tolist() == [1, 0]
