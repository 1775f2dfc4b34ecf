"""Products are counted by the format they ran in, however they are called."""

from __future__ import annotations

import torch
from torch import nn

from strop.surgery.products import ProductCounter


def test_products_are_seen_whether_module_function_or_operator() -> None:
    x, seen = torch.randn(4, 8), list[bool]()
    low = nn.Linear(8, 8).bfloat16()
    with ProductCounter("bfloat16", seen.append):
        low(x.bfloat16())
        x @ x.T
        torch.einsum("ij,kj->ik", x.bfloat16(), x.bfloat16())
        nn.functional.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None])
        nn.Conv1d(4, 4, 3)(x[None])
        nn.LayerNorm(8)(x) + x.softmax(-1)
    assert seen == [True, False, True, False, False]


def test_outside_nothing_is_counted() -> None:
    seen: list[bool] = []
    with ProductCounter("bfloat16", seen.append):
        pass
    torch.ones(2, 2) @ torch.ones(2, 2)
    assert seen == []
