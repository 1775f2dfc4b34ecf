"""Bytes kept for backward: exact on tensors of known size, each storage once, nothing that lives anyway."""

from __future__ import annotations

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from strop.surgery.saved import SavedBytes


class Plant(torch.autograd.Function):
    """Saves a tensor of known size."""

    @staticmethod
    def forward(ctx, x, size):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(torch.zeros(size))
        return x * 2

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * 2, None


def test_a_planted_tensor_counts_to_the_byte() -> None:
    x = torch.ones(3, requires_grad=True)
    with SavedBytes() as saved:
        Plant.apply(x, 1000)
    assert saved.total == 4000


def test_parameters_and_inputs_do_not_count_and_what_is_between_does() -> None:
    net, x = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2)), torch.ones(5, 8)
    with SavedBytes([*net.parameters(), x]) as saved:
        net(x)
    assert saved.total == 5 * 16 * 4  # the answer of tanh, which tanh and the second layer share


def test_views_of_one_storage_count_once_and_freed_addresses_are_not_mistaken() -> None:
    x = torch.ones(64, requires_grad=True)
    with SavedBytes() as saved:
        y = x * 1
        (y[:32].exp(), y[32:].sin())
        for _ in range(5):
            (x * 3).square()  # freed at once, so its address is free for the next
    assert saved.total == (32 + 64) * 4 + 5 * 64 * 4


def test_it_ends_with_its_context() -> None:
    x = torch.ones(4, requires_grad=True)
    with SavedBytes() as saved:
        pass
    x.exp()
    assert saved.total == 0


def test_what_was_counted_is_freed_although_no_backward_came() -> None:
    x = torch.ones(4, requires_grad=True)
    with SavedBytes():
        y = x.exp()  # keeps its own answer
    storage = StorageWeakRef(y.untyped_storage())
    del y
    assert storage.expired()
