"""Attention with dropout on a processor: products in the precision they come in, everything between them in float32.

PyTorch answers ``scaled_dot_product_attention`` with dropout on a processor by its reference path: it widens what autocast
narrowed, guards every row against being masked whole, and draws a mask bit by bit. Here products stay narrow, the softmax is
computed in float32 (whose kernel is the quicker one for rows that do not fill a vector), and masks share random bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from strop.surgery.dropout import LEVELS, drawn, mask_
from strop.surgery.modules import restore_forward

Attention = Callable[..., Tensor]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Answer as ``torch.nn.functional.scaled_dot_product_attention`` does, with dropout masks as another seed would give.

    Whatever is not written for here is torch's to answer: no dropout, another device, heads that share keys, shapes other
    than (batch, heads, length, width), a mask that is trained, and rows that no key is left for (torch answers 0).

    Args:
        query: (batch, heads, queries, width).
        key: (batch, heads, keys, width).
        value: (batch, heads, keys, width of the answer).
        attn_mask: boolean (true takes part) or added to the scores; broadcast to (batch, heads, queries, keys).
        dropout_p: probability that a weight is dropped, kept as a multiple of 1/65,536.
        is_causal: a query sees keys up to its own place.
        scale: of the scores; by default one over the root of the width.
        enable_gqa: heads share keys.
    """
    levels = round(dropout_p * LEVELS)
    ours = 0 < levels < LEVELS and query.device.type == "cpu" and query.dim() == 4 and not enable_gqa
    ours = ours and query.shape[:2] == key.shape[:2] == value.shape[:2] and not (is_causal and attn_mask is not None)
    bias = _bias(query, key, attn_mask, is_causal) if ours else None
    if bias is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    narrow = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    query, key, value = query.to(narrow), key.to(narrow), value.to(narrow)
    answer: Tensor = _Attend.apply(query, key, value, bias, levels, scale)  # type: ignore[no-untyped-call]
    return answer


def _bias(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """Return what is added to the scores, float32 (or float64 for such queries); ``None`` where torch must answer."""
    wide = torch.promote_types(query.dtype, torch.float32)
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    if mask is None:
        return torch.zeros(1, dtype=wide)
    if mask.requires_grad:
        return None
    if mask.dtype is torch.bool:
        mask = torch.zeros(mask.shape, dtype=wide).masked_fill_(~mask, -math.inf)
    bias = mask.to(wide)
    return bias if bool((bias > torch.finfo(bias.dtype).min / 2).any(-1).all()) else None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, levels: int, scale: float) -> Tensor:
        shape = (*query.shape[:2], query.shape[2], key.shape[2])
        q, k, v = (t.reshape(-1, *t.shape[2:]) for t in (query, key, value))
        scores = torch.bmm(q, k.transpose(1, 2)).to(bias.dtype).view(shape)
        weights = torch.softmax(scores.mul_(scale).add_(bias), -1)
        keep, grown = drawn(shape, levels), LEVELS / (LEVELS - levels)
        left = mask_((weights * grown).to(q.dtype), keep).view(-1, *shape[2:])
        ctx.save_for_backward(q, k, v, weights, keep, left)
        ctx.scale, ctx.grown = scale, grown
        return torch.bmm(left, v).view(*query.shape[:3], value.shape[3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, keep, left = ctx.saved_tensors
        grad, shape = grad.to(q.dtype).reshape(-1, *grad.shape[2:]), weights.shape
        into = mask_(torch.bmm(grad, v.transpose(1, 2)).view(shape), keep).to(weights.dtype)
        scores = torch._softmax_backward_data(into, weights, -1, weights.dtype).mul_(ctx.scale * ctx.grown)
        narrow = scores.to(q.dtype).view(-1, *shape[2:])
        parts = (torch.bmm(narrow, k), torch.bmm(narrow.transpose(1, 2), q), torch.bmm(left.transpose(1, 2), grad))
        return (*(part.view(*shape[:2], *part.shape[1:]) for part in parts), None, None, None)


class _Watch(TorchFunctionMode):
    """Answers ``scaled_dot_product_attention`` by another function while it is active."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self._attention = attention

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            func = self._attention
        return func(*args, **(kwargs or {}))


class _Attending:
    """A module's forward during which attention is answered by :func:`attend`."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _Watch(attend):
            return self.forward(*args, **kwargs)


def share_attention(model: nn.Module, run: Callable[[], object]) -> int:
    """Let the modules of a model that attend with dropout do so by :func:`attend`; return how many there are.

    Args:
        model: changed in place, until :func:`undo`.
        run: lets the model train on a batch, so that it is seen which modules attend. They are changed one by one, not the
            model as a whole, so that a block that is recomputed in the backward pass draws the same mask again.
    """
    attending: dict[int, nn.Module] = {}
    inside: list[nn.Module] = []

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        *rest: Any,
        **others: Any,
    ) -> Tensor:
        if inside and dropout_p > 0:
            attending[id(inside[-1])] = inside[-1]
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, *rest, **others)

    def enter(module: nn.Module, args: Any) -> None:
        inside.append(module)

    def leave(module: nn.Module, args: Any, answer: Any) -> None:
        if inside and inside[-1] is module:  # a forward that fails may do so before it was entered
            inside.pop()

    handles = [m.register_forward_pre_hook(enter) for m in model.modules()]
    handles += [m.register_forward_hook(leave, always_call=True) for m in model.modules()]
    try:
        with _Watch(attention):
            run()
    finally:
        for handle in handles:
            handle.remove()
    for module in attending.values():
        module.forward = _Attending(module.forward)
    return len(attending)


def undo(model: nn.Module) -> None:
    """Let torch answer again."""
    restore_forward(model, _Attending)
