"""What a call has to do, whatever the machine: floating-point operations and compulsory bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from strop.contract.pytree import flatten
from strop.contract.signature import Call
from strop.units import Bytes

UNCOUNTABLE = ("mkldnn_rnn_layer", "lstm", "gru", "_linear_pointwise", "_convolution_pointwise", "quantized", "_weight_int")
"""Parts of names of operators that compute products; those the counter does not know are reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one call has to do.

    Attributes:
        flops: floating-point operations as torch counts them; a multiply-add counts as two.
        uncounted: operators with products that the counter does not know.
        traffic: bytes that must move at least: weights once, inputs and outputs; of embeddings the rows taken.
            Activations are left out: whether they leave the cache depends on the machine and the engine.
    """

    flops: int
    uncounted: tuple[str, ...]
    traffic: Bytes


def count_work(model: nn.Module, call: Call) -> Work:
    """Count the work of one call by making it once."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    seen, counter = _Seen(), FlopCounterMode(display=False, custom_mapping={attention: _attention_flops})
    # Outside of the counter, what it took apart is seen in its parts: only what stays whole is missed.
    with _rows_taken(model) as taken, _no_fast_path(), torch.inference_mode(), seen, counter:
        answer = model(*call[0], **call[1])
    missed = sorted(name for name in seen.unknown if any(part in name for part in UNCOUNTABLE))
    read = [m for m in model.modules() if not isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    weights = {id(t): t for m in read for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))}
    inputs, _ = flatten([list(call[0]), call[1]])
    outputs, _ = flatten(answer)
    traffic = sum(map(_bytes, (*weights.values(), *inputs, *outputs))) + sum(taken)
    return Work(flops=counter.get_total_flops(), uncounted=tuple(missed), traffic=traffic)


def mean_work(works: Sequence[Work]) -> Work:
    """Return the work of a call on average: calls of several lengths are timed together, so they count together."""
    return Work(
        flops=round(fmean(work.flops for work in works)),
        uncounted=tuple(sorted({name for work in works for name in work.uncounted})),
        traffic=round(fmean(work.traffic for work in works)),
    )


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the operators that the counter has no formula for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unknown: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket not in flop_registry:
            self.unknown.add(func._schema.name)
        return func(*args, **(kwargs or {}))


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """Count the attention of CPUs, for which torch has no formula, like that of other devices; arguments are shapes."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    """Let encoder layers of torch run in their parts: fused into one operator, nobody can count them."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextlib.contextmanager
def _rows_taken(model: nn.Module) -> Iterator[list[int]]:
    taken: list[int] = []

    def hook(module: nn.Module, args: Any, answer: Tensor) -> None:
        taken.append(_bytes(answer))

    tables = [m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    handles = [table.register_forward_hook(hook) for table in tables]
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())
