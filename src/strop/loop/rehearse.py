"""Forward and loss of one micro-batch as training will run them, with everything put back afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from strop.contract.training import Training
from strop.loop.state import own_random_numbers


def first_batch(training: Training) -> Any:
    """Collate the first micro-batch of the first epoch."""
    samples = training.split(training.batches(0)[0])[0]
    return training.collate([training.data[number] for number in samples])


def rehearse(model: nn.Module, training: Training, batch: Any) -> Tensor:
    """Run forward and loss in training mode, with gradients; return the loss as the workload gave it.

    Buffers, mode and random numbers are as before; nothing runs backward.
    """
    with put_back(model):
        return training.loss(training.forward(model, batch), batch)


def without_gradient(model: nn.Module, training: Training, batch: Any) -> list[str]:
    """Return the names of the trained parameters on which the loss of a micro-batch does not depend."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with put_back(model):
        loss = training.loss(training.forward(model, batch), batch).sum()
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]


@contextlib.contextmanager
def put_back(model: nn.Module) -> Iterator[None]:
    """Train inside; mode, buffers and random numbers return to what they were."""
    mode, buffers = model.training, [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with own_random_numbers(0), torch.enable_grad():
        try:
            model.train()
            yield
        finally:
            model.train(mode)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
