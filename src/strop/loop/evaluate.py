"""What a model in training answers to evaluation data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from strop.contract.pytree import flatten, unflatten
from strop.contract.quality import Quality, scores
from strop.contract.workload import Split
from strop.loop.step import Stepper


def evaluate(loop: Stepper, metric: Quality, split: Split) -> float:
    """Return the metric over a split, in eval mode, without gradients and without drawing random numbers.

    Raises:
        WorkloadError: the metric fails on the answers.
    """
    mode = loop.model.training
    loop.model.eval()
    try:
        with torch.no_grad():
            answers = [_at_home(loop.training.forward(loop.model, loop.placed(batch))) for batch in split.inputs]
    finally:
        loop.model.train(mode)
    labels = split.labels or []
    if metric.metric is not None:
        return float(metric.metric(answers, labels))
    return float(np.mean(scores(metric, answers, labels)))


def _at_home(answer: Any) -> Any:
    leaves, form = flatten(answer)
    return unflatten(form, [leaf.cpu() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves])
