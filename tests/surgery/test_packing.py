"""Packed for backward: exact bytes, bounded errors, once per storage, and only what gains by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from strop.errors import TrainingError
from strop.measure.memory import tensor_held
from strop.surgery.packing import Format, Packing

FORMS: list[Format] = ["bfloat16", "float16", "int8"]
BOUND = {"bfloat16": 2**-8, "float16": 2**-11, "int8": 1 / 120}
"""Largest departure of a saved number, relative to the largest of its storage."""


class Placed(torch.autograd.Function):
    """A multiple of a tensor in a storage of its own at an address that is given, as an allocator may give one again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: int, place: bytearray) -> Tensor:
        ctx.factor = factor
        return torch.mul(x, factor, out=torch.frombuffer(place, dtype=x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.factor, None, None


class Plant(torch.autograd.Function):
    """Saves a tensor of known size, and shows in backward what came back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor) -> Tensor:
        ctx.save_for_backward(kept)
        return x * 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (seen,) = ctx.saved_tensors
        Plant.seen = seen
        return grad, None

    seen: Tensor


def planted(kept: Tensor, form: Format, **settings: Any) -> tuple[Tensor, Packing]:
    """Save a tensor, run backward, and return what backward was given."""
    x = torch.ones(1, requires_grad=True)
    with Packing(form, **settings) as packing:
        y = Plant.apply(x, kept)
    y.backward()
    return Plant.seen, packing


@pytest.mark.parametrize(("form", "bytes_left"), [("bfloat16", 2000), ("float16", 2000), ("int8", 16 * 66)])
def test_a_planted_tensor_counts_to_the_byte_and_comes_back_rounded(form: Format, bytes_left: int) -> None:
    kept = torch.randn(10, 100, generator=torch.Generator().manual_seed(0))
    seen, packing = planted(kept, form)
    assert (packing.packed, packing.freed) == (1, 4000 - bytes_left)
    assert seen.shape == kept.shape and seen.dtype == kept.dtype
    departure = (seen - kept).abs().max() / kept.abs().max()
    assert 0 < departure < BOUND[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("double", [False, True])
def test_strides_offsets_and_wide_numbers_come_back_in_place(form: Format, double: bool) -> None:
    whole = torch.randn(6, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64 if double else torch.float32)
    for kept in (whole.t(), whole[2:4, 5:], whole[:, None, :1].expand(6, 3, 40)):
        seen, _ = planted(kept, form)
        assert seen.shape == kept.shape and seen.dtype == kept.dtype
        assert (seen - kept).abs().max() < BOUND[form] * whole.abs().max()


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (torch.arange(1000), "integers"),
        (torch.ones(1000, dtype=torch.bool), "masks"),
        (torch.ones(1000, dtype=torch.bfloat16), "16 bits"),
        (torch.full((1000,), -float("inf")), "infinities"),
        (torch.full((1000,), torch.finfo(torch.float32).min), "what bfloat16 rounds to an infinity"),
        (torch.full((1000,), float("nan")), "NaN"),
        (torch.ones(10), "small"),
        (torch.view_as_complex(torch.ones(1000, 2)), "complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_gains_nothing_or_cannot_be_held_stays_as_it_is(kept: Tensor, words: str) -> None:
    seen, packing = planted(kept, "bfloat16", smallest=100)
    assert packing.packed == packing.freed == 0, words
    assert seen.data_ptr() == kept.data_ptr()


def test_numbers_beyond_float16_stay_as_they_are() -> None:
    seen, packing = planted(torch.tensor([1.0, 70_000.0]), "float16")
    assert packing.packed == 0 and seen.tolist() == [1.0, 70_000.0]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 64), nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.up(x))).square().mean()


def made() -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    return Net(), torch.randn(32, 8)


@pytest.mark.parametrize("form", FORMS)
def test_parameters_and_inputs_stay_and_gradients_are_near(form: Format) -> None:
    net, x = made()
    loss = net(x)
    loss.backward()
    plain = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    with Packing(form, [*net.parameters(), x]) as packing:
        again = net(x)
    again.backward()
    assert torch.equal(loss, again), "forward is not touched"
    # tanh's answer, which the second layer shares, and the answer that is squared; not the weights and not x
    small = {"bfloat16": 0.5, "float16": 0.5, "int8": 1 - 66 / 256}[form]
    assert (packing.packed, packing.freed) == (2, (32 * 64 + 32 * 8) * 4 * small)
    for before, now in zip(plain, (p.grad for p in net.parameters()), strict=True):
        assert now is not None and 0 < (now - before).abs().max() < 0.02 * before.abs().max()


def test_views_of_one_storage_are_packed_once() -> None:
    x = torch.randn(64, requires_grad=True)
    with Packing("bfloat16") as packing:
        y = x * 1
        loss = sum(part.sum() for part in (y[:32].sin(), y[32:].cos(), y.view(8, 8).t().square()))
    assert packing.packed == 1
    torch.autograd.backward(loss)
    expected = torch.cat([x[:32].cos(), -x[32:].sin()]) + 2 * x
    assert x.grad is not None and (x.grad - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_new_storage_at_the_address_of_a_freed_one_is_not_mistaken_for_it() -> None:
    x, place = torch.randn(4096, requires_grad=True), bytearray(4096 * 4)
    with Packing("bfloat16") as packing:
        loss = torch.zeros(())
        for factor in range(1, 11):
            y = Placed.apply(x, factor, place)
            loss = loss + y.square().sum()
            del y
    assert packing.packed == 10
    loss.backward()
    assert x.grad is not None and torch.allclose(x.grad, 2 * 385 * x, rtol=0.01)


def test_after_backward_nothing_is_held_although_the_packing_lives_on() -> None:
    x, packing = torch.randn(4096, requires_grad=True), Packing("bfloat16")
    x.grad = torch.zeros_like(x)

    def run() -> None:
        with packing:
            loss = (x * 2).square().sum()
        loss.backward()

    run()
    assert tensor_held(run) < 1000


def test_a_storage_that_was_changed_in_place_is_packed_again() -> None:
    x = torch.ones(64, requires_grad=True)
    with Packing("bfloat16") as packing:
        y = x * 3
        first = y.square().sum()
        y.mul_(2)
        second = y.square().sum()
    torch.autograd.backward(first + second)
    # 2·3·3 and 2·6·6; whoever remembered the address alone would say 18 and 36
    assert packing.packed == 2 and x.grad is not None and x.grad.tolist() == [18.0 + 72.0] * 64


def test_a_tensor_left_alone_that_is_changed_in_place_is_an_error_as_without_packing() -> None:
    x = torch.ones(64, requires_grad=True)
    with Packing("bfloat16", smallest=10**6):
        y = x * 3
        loss = y.square().sum()
        y.mul_(2)
    with pytest.raises(TrainingError, match=r"shape \[64\] that backward needs was changed in place.*Change a copy"):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("packs", [True, False])
def test_what_was_saved_is_freed_although_no_backward_came(packs: bool) -> None:
    x = torch.randn(64, requires_grad=True)
    with Packing("bfloat16", smallest=0 if packs else 10**6):
        y = x.exp()  # saves its own answer
    storage = StorageWeakRef(y.untyped_storage())
    del y
    assert storage.expired()


def test_the_original_is_freed_before_backward() -> None:
    x = torch.randn(64, requires_grad=True)
    with Packing("bfloat16"):
        y = x * 2
        storage = StorageWeakRef(y.untyped_storage())
        loss = y.square().sum()
        del y
        assert storage.expired(), "even inside the context"
    loss.backward()
    assert x.grad is not None and torch.allclose(x.grad, 8 * x, rtol=0.01)


def test_of_a_recomputed_region_only_the_input_is_packed() -> None:
    net, x = made()
    x.requires_grad_()
    with Packing("bfloat16", net.parameters()) as packing:
        loss = checkpoint(net, x * 1, use_reentrant=False)
    loss.backward()
    assert (packing.packed, packing.freed) == (1, 32 * 8 * 2)
    recomputed = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    net(x.bfloat16().float()).backward()  # what the region is computed from again
    assert all(
        torch.allclose(a, p.grad, atol=0.01) for a, p in zip(recomputed, net.parameters(), strict=True) if p.grad is not None
    )


def test_copies_of_weights_that_casting_makes_are_not_packed() -> None:
    net, x = made()
    x.requires_grad_()
    with Packing("int8", [*net.parameters(), x]), torch.autocast("cpu", torch.bfloat16):
        packed = net.up(x).sum()
    with torch.autocast("cpu", torch.bfloat16):
        plain = net.up(x).sum()
    assert torch.equal(*(torch.autograd.grad(loss, x)[0] for loss in (packed, plain)))
