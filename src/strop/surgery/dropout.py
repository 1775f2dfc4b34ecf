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
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element → the integers of that size."""


class SharedBitsDropout(nn.Dropout):
    """What :class:`torch.nn.Dropout` is, except for the numbers drawn: each element is dropped with probability ``p``.

    ``p`` is rounded to a multiple of 1/65,536, and what is kept is scaled by the rounded one, so that the mean is right.
    Random numbers are torch's own, so that a seed, a checkpoint and a recomputed block repeat them. Off the processor it is
    torch's dropout, whose generator there is not a bottleneck.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements while training; any shape, floating point."""
        if not self.training or input.device.type != "cpu" or input.element_size() not in BITS:
            return functional.dropout(input, self.p, self.training)
        levels = round(self.p * LEVELS)
        keep, scale = drawn(input.shape, levels), LEVELS / (LEVELS - levels)
        return _Drop.apply(input, keep, scale)  # type: ignore[no-any-return, no-untyped-call]


@torch.library.custom_op("strop::drawn", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def drawn(shape: Sequence[int], levels: int) -> Tensor:
    """Draw which elements are kept.

    One operator, because compilers, which would trace it, lose the size of what is viewed as another type and then written to.

    Returns:
        int16 of that shape: all bits set where kept, none where dropped, which is so with probability ``levels / LEVELS``.
        Comparing integers into integers, and masking by their bits, is several times as fast as by way of booleans.
    """
    elements = math.prod(shape)
    words = torch.empty(-(-elements // LANES), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:elements].view(shape).ge_(levels - LEVELS // 2).neg_()


@drawn.register_fake
def _like_drawn(shape: Sequence[int], levels: int) -> Tensor:
    return torch.empty(shape, dtype=torch.int16)


def mask_(values: Tensor, keep: Tensor) -> Tensor:
    """Set to zero, in place, what ``keep``, as :func:`drawn` gives it, does not keep, whatever stood there; gives no gradient."""
    bits = BITS[values.element_size()]
    values.view(bits).bitwise_and_(keep.to(bits))
    return values


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return mask_(values * scale, keep)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return _Drop.apply(grad, keep, ctx.scale), None, None  # type: ignore[no-untyped-call]


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
