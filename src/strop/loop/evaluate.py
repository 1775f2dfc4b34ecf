"""What a model in training answers to evaluation data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from strop.contract.pytree import flatten, unflatten
from strop.contract.quality import Quality, scores
from strop.contract.workload import Split
from strop.errors import WorkloadError
from strop.loop.step import Stepper


def evaluate(loop: Stepper, metric: Quality, split: Split) -> float:
    """Return the metric over a split, in eval mode, without gradients and without drawing random numbers.

    Raises:
        WorkloadError: the model cannot be called with an input, or the metric fails on the answers.
    """
    mode = loop.model.training
    loop.model.eval()
    try:
        with torch.no_grad():
            answers = [_answer(loop, number, batch) for number, batch in enumerate(split.inputs)]
    finally:
        loop.model.train(mode)
    labels = split.labels or []
    if metric.metric is not None:
        try:
            return float(metric.metric(answers, labels))
        except Exception as error:
            raise WorkloadError(f"metric {metric.name!r} failed on the answers: {type(error).__name__}: {error}") from error
    return float(np.mean(scores(metric, answers, labels)))


def _answer(loop: Stepper, number: int, batch: Any) -> Any:
    try:
        return _at_home(loop.training.forward(loop.model, loop.placed(batch)))
    except Exception as error:
        raise WorkloadError(
            f"forward of the workload failed on evaluation input {number}: {type(error).__name__}: {error}. Give evaluation "
            f"inputs as forward takes them: whole batches, as collate makes them of the training samples."
        ) from error


def _at_home(answer: Any) -> Any:
    leaves, form = flatten(answer)
    return unflatten(form, [leaf.cpu() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves])
