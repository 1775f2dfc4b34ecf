"""Dropout on a processor whose masks take fewer random bits: sixteen for each element, so that one draw serves four."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 2**16
"""A probability is kept as a multiple of one over this."""
LANES = 4
"""Elements that one 64-bit draw decides."""


class SharedBitsDropout(nn.Dropout):
    """What :class:`torch.nn.Dropout` is, except for the numbers drawn: each element is dropped with probability ``p``.

    ``p`` is rounded to a multiple of 1/65,536, and what is kept is scaled by the rounded one, so that the mean is right.
    Random numbers are torch's own, so that a seed, a checkpoint and a recomputed block repeat them. Off the processor it is
    torch's dropout, whose generator there is not a bottleneck.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements while training; any shape, floating point."""
        if not self.training or input.device.type != "cpu":
            return functional.dropout(input, self.p, self.training)
        dropped: Tensor = _Drop.apply(input, round(self.p * LEVELS))  # type: ignore[no-untyped-call]
        return dropped


def drawn(shape: Sequence[int], levels: int) -> Tensor:
    """Draw which elements are kept: boolean, of that shape, each false with probability ``levels / LEVELS``."""
    elements = math.prod(shape)
    words = torch.empty(-(-elements // LANES), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:elements].view(shape) >= levels - LEVELS // 2


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, levels: int) -> Tensor:
        keep, ctx.scale = drawn(input.shape, levels), LEVELS / (LEVELS - levels)
        ctx.save_for_backward(keep)
        return input * keep.to(input.dtype).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return grad * keep.to(grad.dtype).mul_(ctx.scale), None


def share_bits(model: nn.Module) -> int:
    """Let every dropout of a model share random bits; return how many there are. Those that never drop, or drop all, stay."""
    chosen = [m for m in model.modules() if type(m) is nn.Dropout and 0 < round(m.p * LEVELS) < LEVELS]
    for module in chosen:
        module.__class__ = SharedBitsDropout  # in place, for a wrapper or a list may hold it under other names
    return len(chosen)


def undo(model: nn.Module) -> None:
    """Make them torch's again."""
    for module in model.modules():
        if type(module) is SharedBitsDropout:
            module.__class__ = nn.Dropout  # type: ignore[assignment]
