"""What the host can run in low precision, and how many operators a model really runs in it."""

from __future__ import annotations

from typing import Any

from strop.contract.device import PROCESSOR
from strop.contract.draft import Draft
from strop.contract.pytree import map_leaves
from strop.contract.signature import as_call
from strop.engines.calls import tensors_of
from strop.measure.host import Host

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_PRODUCTS = frozenset(
    {
        "aten::mm",
        "aten::addmm",
        "aten::bmm",
        "aten::baddbmm",
        "aten::linear",
        "aten::convolution",
        "aten::_convolution",
        "aten::mkldnn_convolution",
        "aten::mkldnn_rnn_layer",
        "aten::lstm",
        "aten::scaled_dot_product_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "aten::_cudnn_rnn",
        "aten::_native_multi_head_attention",
    }
)


def decline_precision(draft: Draft, host: Host) -> str | None:
    """Say why the draft's low precision cannot run natively where its model answers, or return ``None``."""
    if draft.precision is None:
        return None
    if draft.device != PROCESSOR:
        return _decline_on_accelerator(draft.precision.dtype, draft.device)
    if draft.precision.dtype != "bfloat16":
        return f"CPU engines compute in float32 and bfloat16, not {draft.precision.dtype}"
    if not _BF16_FLAGS & host.isa:
        return f"{host.cpu} has neither avx512_bf16 nor amx_bf16, so bfloat16 would be emulated"
    return None


def _decline_on_accelerator(dtype: str, device: str) -> str | None:
    """Ask the card itself: bfloat16 came with NVIDIA's compute capability 8.0, and to AMD's cards with those torch supports."""
    import torch

    if dtype == "float16" or torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0):
        return None
    return f"{torch.cuda.get_device_name(device)} multiplies no bfloat16, so it would be emulated; use float16"


def first_call(draft: Draft) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the first example input as a call with torch tensors."""
    tree = map_leaves(lambda leaf: tensors_of([leaf])[0][0], list(as_call(draft.examples[0])))
    return tuple(tree[0]), tree[1]


def count_operators(draft: Draft, dtype: str) -> int:
    """Run the draft's model once under its device's autocast and count the operators that compute on values of ``dtype``.

    Matrix products, convolutions, recurrent layers and attention count; a model in which autocast changes nothing counts zero.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    low: torch.dtype = getattr(torch, dtype)

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        count: int = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func._schema.name in _PRODUCTS:
                self.count += any(getattr(arg, "dtype", None) == low for arg in args)
            return func(*args, **(kwargs or {}))

    args, kwargs = first_call(draft)
    counter = Counter()  # type: ignore[no-untyped-call]
    # Not inference_mode: there, compound operators such as conv2d and matmul would not be taken apart into those counted.
    with torch.no_grad(), torch.autocast(draft.device.partition(":")[0], low), counter:
        draft.model(*args, **kwargs)
    return int(counter.count)
