"""The training of a model that came to be called: its inputs in batches of one shape, and what is true of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from strop.contract.pytree import flatten, map_leaves, to_numpy, unflatten
from strop.contract.signature import as_call
from strop.contract.training import Samples, Training
from strop.contract.workload import Split
from strop.loop.intents import order

UNKNOWN = -100
"""Label of an example whose class nobody knows."""

DECAY = 0.01
"""Of the weights, by AdamW."""

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises; it falls to nothing over the rest."""


class Example(NamedTuple):
    """One input of a split: its call as ``[args, kwargs]``, and the class of each of its rows."""

    call: Any
    labels: Tensor


def transfer(
    split: Split, *, seed: int, batch: int, epochs: int, steps: int | None, learning_rate: float, labelled: bool
) -> Training:
    """Return a training on a split's inputs: AdamW, its rate rising and then falling evenly, cross-entropy on known labels.

    A batch holds inputs of one shape, laid one after the other along their first dimension, so nothing is padded and nothing
    needs to be known about padding. Which inputs share a batch is drawn once; the batches come in another order each epoch.

    Args:
        split: inputs as the model is called with; labels are class numbers, or ``None`` where unknown.
        seed: of the batches and their order.
        batch: rows per step.
        epochs: passes over the split.
        steps: optimizer steps at most; ``None``: no limit but the epochs.
        learning_rate: at its peak.
        labelled: whether labels are looked at.
    """
    labels = split.labels if labelled and split.labels is not None else [None] * len(split.inputs)
    examples = [_example(given, label) for given, label in zip(split.inputs, labels, strict=True)]
    groups = _of_one_shape(examples, batch, seed)

    def batches(epoch: int) -> Sequence[Samples]:
        return [groups[number] for number in order(len(groups), seed, epoch)]

    def schedule(optimizer: Optimizer, planned: int) -> LambdaLR:
        rising = max(1, round(WARM_UP * planned))
        return LambdaLR(optimizer, lambda step: min((step + 1) / rising, (planned - step) / max(1, planned - rising), 1.0))

    return Training(
        data=examples,
        batches=batches,
        collate=joined,
        forward=lambda model, batch: model(*batch.call[0], **batch.call[1]),
        loss=known_cross_entropy,
        items=lambda batch: len(batch.labels),
        optimizer=lambda model: AdamW(model.parameters(), lr=learning_rate, weight_decay=DECAY),
        epochs=epochs,
        steps=steps,
        split=lambda samples: [samples],
        schedule=schedule,
        max_norm=1.0,
    )


def joined(examples: Sequence[Example]) -> Example:
    """Lay inputs of one shape one after the other."""
    calls = [flatten(example.call) for example in examples]
    leaves = [torch.cat(parts) if parts[0].ndim else parts[0] for parts in zip(*(leaves for leaves, _ in calls), strict=True)]
    return Example(unflatten(calls[0][1], leaves), torch.cat([example.labels for example in examples]))


def known_cross_entropy(outputs: Any, batch: Example) -> Tensor:
    """Return the cross-entropy of each row whose class is known, and 0 for the others: ``(rows,)``."""
    logits = flatten(outputs)[0][0]
    if not bool((batch.labels != UNKNOWN).any()):
        return torch.zeros(len(batch.labels), device=logits.device)
    return functional.cross_entropy(logits.float(), batch.labels, ignore_index=UNKNOWN, reduction="none")


def class_labels(split: Split) -> bool:
    """Tell whether every label of a split that is there is a class number, or an array of them."""
    labels = [to_numpy(label) for label in split.labels or () if label is not None]
    return all(label.dtype.kind in "iub" for label in labels)


def _example(given: Any, label: Any) -> Example:
    args, kwargs = as_call(given)
    call = map_leaves(torch.as_tensor, [list(args), kwargs])
    rows = next((len(leaf) for leaf in flatten(call)[0] if leaf.ndim), 1)
    if label is None:
        return Example(call, torch.full((rows,), UNKNOWN))
    return Example(call, torch.from_numpy(np.atleast_1d(to_numpy(label)).astype(np.int64)))


def _of_one_shape(examples: Sequence[Example], rows: int, seed: int) -> list[Samples]:
    alike: dict[Any, list[int]] = defaultdict(list)
    for number in order(len(examples), seed, 0):
        leaves, form = flatten(examples[number].call)
        lone = (number,) if any(not leaf.ndim for leaf in leaves) else ()  # a leaf without rows belongs to one input alone
        alike[(*((leaf.dtype, leaf.shape) for leaf in leaves), str(form), lone)].append(number)
    groups: list[Samples] = []
    for numbers in alike.values():
        size = max(1, rows // len(examples[numbers[0]].labels))
        even = math.ceil(len(numbers) / math.ceil(len(numbers) / size))  # no crumbs behind full batches
        groups += [numbers[start : start + even] for start in range(0, len(numbers), even)]
    return groups
