"""What a training does before any instruction has spoken: the workload's own wishes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from strop.contract.training import Samples, Training
from strop.contract.workload import TrainingWorkload


def training_of(workload: TrainingWorkload, seed: int) -> Training:
    """Return the workload's training: shuffled batches, one optimizer step each, cut into micro-batches where it asks so."""
    size = workload.micro_batch or workload.batch_size
    return Training(
        data=workload.data,
        batches=shuffled(len(workload.data), workload.batch_size, seed),
        collate=workload.collate or _default_collate,
        forward=workload.forward,
        loss=workload.loss,
        items=workload.items,
        optimizer=workload.optimizer,
        epochs=workload.epochs,
        steps=workload.steps,
        split=lambda samples: chunks(samples, size),
        max_norm=workload.max_norm,
    )


def shuffled(count: int, size: int, seed: int) -> Callable[[int], Sequence[Samples]]:
    """Return epoch → batches of ``size`` samples in a new order each epoch; the last batch may be smaller."""
    return lambda epoch: chunks(order(count, seed, epoch), size)


def order(count: int, seed: int, epoch: int) -> list[int]:
    """Return the samples of an epoch in its own random order, which depends on nothing but these three numbers."""
    return [int(number) for number in np.random.default_rng([seed, epoch]).permutation(count)]


def chunks(samples: Samples, size: int) -> list[Samples]:
    """Cut into consecutive pieces of ``size``; the last may be smaller."""
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _default_collate(samples: list[Any]) -> Any:
    from torch.utils.data import default_collate

    return default_collate(samples)
