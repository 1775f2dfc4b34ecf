"""One look at a training before any work: do batch, outputs, loss, labels and optimizer hold together?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from strop.contract.pytree import flatten
from strop.contract.training import Micro, Training
from strop.contract.workload import TrainingWorkload
from strop.errors import WorkloadError
from strop.loop.step import share

T = TypeVar("T")
FEW = 4
"""Samples that are looked at."""


def probe(workload: TrainingWorkload, model: nn.Module, training: Training) -> None:
    """Collate a few samples, run forward, loss and the building of the optimizer once, and check the labels.

    In eval mode and without gradients, so that the model is not changed.

    Raises:
        WorkloadError: the user's code failed or gave something else than it must; the message says which part.
    """
    numbers, count = range(min(FEW, len(training.data))), training.items
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            batch = _tried("collate", lambda: training.collate([training.data[number] for number in numbers]))
            outputs = _tried("forward", lambda: training.forward(model, batch))
            loss = _tried("loss", lambda: training.loss(outputs, batch))
            items = _tried("items", lambda: count(batch)) if count else len(numbers)
    finally:
        model.train(mode)
    found = share(loss, Micro(batch, len(numbers), items, float(items)))
    if not bool(torch.isfinite(found)):
        raise WorkloadError(
            f"loss is {found.item():g} before any training; look for an input, weight or label that is not a number."
        )
    optimizer: Any = _tried("optimizer", lambda: training.optimizer(model))
    if not isinstance(optimizer, Optimizer):
        raise WorkloadError(f"optimizer gave a {type(optimizer).__name__}; a torch.optim.Optimizer was expected.")
    _check_owned(optimizer, model)
    if workload.label is not None:
        _check_labels(workload, outputs)


def _tried(what: str, act: Callable[[], T]) -> T:
    try:
        return act()
    except WorkloadError:
        raise
    except Exception as error:
        raise WorkloadError(f"{what} of the workload failed on its first samples: {type(error).__name__}: {error}") from error


def _check_owned(optimizer: Optimizer, model: nn.Module) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise WorkloadError(
            "optimizer holds no parameter of the model it was given, so nothing would be trained; build it from its argument."
        )


def _check_labels(workload: TrainingWorkload, outputs: Any) -> None:
    assert workload.label is not None
    leaves = flatten(outputs)[0]
    classes = leaves[0].shape[-1] if leaves and leaves[0].ndim else 0
    for number in range(len(workload.data)):
        label = workload.label(workload.data[number])
        if not 0 <= label < classes:
            raise WorkloadError(
                f"sample {number} has label {label}, but the model gives {classes} outputs: labels run from 0 to {classes - 1}."
            )
