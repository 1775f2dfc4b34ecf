"""In which format products run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

PRODUCTS = frozenset(
    {
        "linear", "bilinear", "matmul", "__matmul__", "mm", "bmm", "addmm", "baddbmm", "einsum", "conv1d", "conv2d", "conv3d",
        "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "scaled_dot_product_attention",
        "multi_head_attention_forward",
    }
)  # fmt: skip
"""Functions that are matrix products or convolutions."""


class ProductCounter(TorchFunctionMode):
    """Watches the products that run inside it.

    Args:
        dtype: a format, for instance ``"bfloat16"``.
        count: called for each product, with whether it gave that format.
    """

    def __init__(self, dtype: str, count: Callable[[bool], None]) -> None:
        super().__init__()
        self._dtype, self._count = f"torch.{dtype}", count

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        name = (resolve_name(func) or getattr(func, "__name__", "")).rpartition(".")[2]
        if name in PRODUCTS and isinstance(first := answer[0] if isinstance(answer, tuple) else answer, Tensor):
            self._count(str(first.dtype) == self._dtype)
        return answer
