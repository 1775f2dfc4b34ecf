from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from strop.surgery.positions import cut_unread

BATCH, LENGTH, WIDTH, HEADS = 3, 5, 8, 2


class Block(nn.Module):
    """A transformer block, written out."""

    def __init__(self, *, causal: bool = False, fused: bool = True) -> None:
        super().__init__()
        self.causal, self.fused = causal, fused
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (f(x).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.fused:
            mixed = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-1, -2) / 2
            mixed = torch.softmax(scores if mask is None else scores.masked_fill(~mask, -1e9), -1) @ v
        x = self.first(x + self.o(mixed.transpose(1, 2).reshape(*x.shape)))
        out: Tensor = self.second(x + self.down(functional.gelu(self.up(x))))
        return out


class Reads(nn.Module):
    """Two blocks, of whose answer ``read`` takes something."""

    def __init__(self, read: Callable[[Tensor], Any], **options: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([Block(**options), Block(**options)])
        self.head, self.read = nn.Linear(WIDTH, 3), read

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        for block in self.blocks:
            x = block(x, None if block.causal else mask[:, None, None, :])
        return self.read(self.head(x))


def exported(model: nn.Module, *example: Tensor) -> torch.export.ExportedProgram:
    free = tuple({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO} for _ in example)
    return torch.export.export(model.eval(), example, dynamic_shapes=free, strict=False)


def blocks(read: Callable[[Tensor], Any], **options: bool) -> tuple[nn.Module, torch.export.ExportedProgram]:
    model = Reads(read, **options)
    return model, exported(model, torch.randn(BATCH, LENGTH, WIDTH), torch.ones(BATCH, LENGTH, dtype=torch.bool))


def call() -> tuple[Tensor, Tensor]:
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, 4:] = False
    return torch.randn(3, 9, WIDTH), mask


def lengths(program: torch.export.ExportedProgram) -> list[Any]:
    """Of every linear layer's answer, in order; free ones as ``None``."""
    nodes = [n for n in program.graph.nodes if n.target is torch.ops.aten.linear.default]
    return [n.meta["val"].shape[1] if isinstance(n.meta["val"].shape[1], int) else None for n in nodes]


WHOLE = [None] * 6
LAST = [1, None, None, 1, 1, 1]
"""Positions of q, k, v, o, up and down in the last block when one is read."""


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("read", [lambda y: y[:, 0], lambda y: y[:, -1], lambda y: y[:, 2:3] * 2, lambda y: y[1:, 0].relu()])
def test_only_keys_and_values_of_the_last_block_see_every_position(read: Callable[[Tensor], Tensor], fused: bool) -> None:
    model, program = blocks(read, fused=fused)
    inputs = call()
    assert lengths(program) == [*WHOLE, *WHOLE, None]
    count = cut_unread(program)
    assert lengths(program) == [*WHOLE, *LAST, 1]
    assert count >= 11, "the linear layers, attention, GELU, norms and sums"
    for form in (program, program.run_decompositions()):
        torch.testing.assert_close(form.module()(*inputs), model(*inputs))


def test_the_last_query_of_a_causal_block_sees_every_key_and_the_first_does_not() -> None:
    inputs = call()
    model, program = blocks(lambda y: y[:, -1], causal=True)
    cut_unread(program)
    assert lengths(program) == [*WHOLE, *LAST, 1]
    torch.testing.assert_close(program.module()(*inputs), model(*inputs))
    model, program = blocks(lambda y: y[:, 0], causal=True)
    cut_unread(program)
    assert lengths(program) == [*WHOLE, None, None, None, 1, 1, 1, 1], "attention stays whole: its mask depends on the place"
    torch.testing.assert_close(program.module()(*inputs), model(*inputs))


@pytest.mark.parametrize("shape", [(1, 5), (5, 5), (2, 1, 5, 5)])
def test_a_mask_is_cut_where_it_has_a_row_for_each_query(shape: tuple[int, ...]) -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(x, x, x, mask)[:, :, 3].tanh()

    inputs = torch.randn(2, 3, 5, 4), torch.rand(shape) > 0.4
    inputs[1][..., 0] = True
    program = torch.export.export(Masked(), inputs, strict=False)
    wanted = program.module()(*inputs)
    assert cut_unread(program) == 1
    torch.testing.assert_close(program.module()(*inputs), wanted)


@pytest.mark.parametrize(
    "read",
    [
        lambda y: y.mean(1),
        lambda y: y.select(2, 0),
        lambda y: y,
        lambda y: y[:, 0] + y[:, 1],
        lambda y: (y[:, 0], y),
        lambda y: y.cumsum(1)[:, -1],
        lambda y: y.softmax(1)[:, 0],
        lambda y: functional.layer_norm(y, y.shape[1:])[:, 0],
        lambda y: y.flip(1)[:, 0],
        lambda y: y.flatten(0, 1)[0],
        lambda y: torch.cat([y, y], 1)[:, 0],
        lambda y: functional.dropout(y, 0.5, training=True)[:, 0],
    ],
)
def test_nothing_is_cut_where_more_is_read(read: Callable[[Tensor], Tensor]) -> None:
    _, program = blocks(read)
    assert cut_unread(program) == 0
    assert lengths(program) == [*WHOLE, *WHOLE, None]


def test_two_readers_of_one_position_count_as_one() -> None:
    model, program = blocks(lambda y: (y[:, 0].relu(), y[:, 0:1].tanh()))
    inputs = call()
    cut_unread(program)
    assert lengths(program) == [*WHOLE, *LAST, 1]
    torch.testing.assert_close(program.module()(*inputs), model(*inputs))


def test_what_is_an_answer_itself_keeps_its_name() -> None:
    model, program = blocks(lambda y: y.tanh()[:, :1])
    inputs = call()
    assert cut_unread(program) == 0
    torch.testing.assert_close(program.module()(*inputs), model(*inputs))


def test_a_cut_that_the_model_makes_later_itself_is_used_earlier() -> None:
    class Later(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            whole = x.cumsum(1)
            return whole.tanh()[:, 0] + torch.ops.aten.slice(whole, 1, 0, 1).relu()[:, 0]

    program = exported(Later(), torch.randn(2, 3, 4))
    x = torch.randn(3, 6, 4)
    assert cut_unread(program) == 1
    torch.testing.assert_close(program.module()(x), Later()(x))


def test_a_graph_that_changes_tensors_in_place_stays() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.exp()
            z = y.tanh()
            y.add_(1)
            return z[:, 0] + y[:, 0]

    assert cut_unread(exported(InPlace(), torch.randn(2, 3, 4))) == 0


def test_a_part_under_autocast_is_cut_too() -> None:
    model = Reads(lambda y: y[:, 0])

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                out: Tensor = self.model(x, mask)
            return out

    inputs = call()
    program = exported(Narrow(), *inputs)
    wanted = program.module()(*inputs)
    assert cut_unread(program) >= 11
    torch.testing.assert_close(program.module()(*inputs), wanted)


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda x: (x / 4).exp(),
    "broadcast": lambda x: x + x[:1] if x.shape[0] > 1 else x * 2,
    "row": lambda x: x * torch.arange(x.shape[-1], dtype=torch.float32),
    "mean": lambda x: x - x.mean(-1, keepdim=True),
    "softmax": lambda x: x.softmax(1),
    "softmax last": lambda x: x.softmax(-1),
    "transpose": lambda x: x.transpose(0, 1),
    "turn": lambda x: x.permute(2, 0, 1),
    "norm": lambda x: functional.layer_norm(x, x.shape[-1:]),
    "norm two": lambda x: functional.layer_norm(x, x.shape[-2:]),
    "split": lambda x: x.reshape(x.shape[0], x.shape[1], 2, -1).transpose(1, 2).reshape(x.shape),
    "flat": lambda x: x.reshape(-1, x.shape[-1]).tanh().view(x.shape),
    "gram": lambda x: x @ x.transpose(-1, -2) @ x / 8,
    "attend": lambda x: functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0],
    "residual": lambda x: x + x.tanh() * x.sigmoid(),
    "mask": lambda x: torch.where(x > 0, x, x[:, :1]),
    "double": lambda x: x.to(torch.complex128).real,
}


@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6), st.sampled_from([0, 1, -1, -2, 3]), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_any_chain_of_operators_answers_as_before(steps: list[str], index: int, dim: int) -> None:
    class Chain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for step in steps:
                x = STEPS[step](x)
            return x.select(dim, index) * 2

    x = torch.randn(4, 6, 8, dtype=torch.float64)
    program = torch.export.export(Chain(), (x,), strict=False)
    wanted = program.module()(x)
    cut_unread(program)
    torch.testing.assert_close(program.module()(x), wanted)
    torch.testing.assert_close(program.run_decompositions().module()(x), wanted)
