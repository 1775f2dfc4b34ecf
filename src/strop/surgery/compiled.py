"""A training's forward, and with it its backward, compiled when the first batch comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

Forward = Callable[[nn.Module, Any], Any]


def compiled(forward: Forward, free: bool, count: Callable[[], None]) -> Forward:
    """Return ``forward`` compiled by TorchInductor while the model trains, and as it is while the model is evaluated.

    Random numbers are drawn as without, so that answers and gradients differ by rounding alone.

    Args:
        forward: takes the model and a batch.
        free: sizes of a batch are free from the start; else those that are found to change.
        count: called for each graph that is compiled; more than one means breaks in the code or new sizes.
    """

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        from torch._inductor.compile_fx import compile_fx

        count()
        return compile_fx(graph, inputs, config_patches={"fallback_random": True})

    quick: Forward = torch.compile(forward, backend=backend)

    def run(model: nn.Module, batch: Any) -> Any:
        # An evaluation would compile everything once more for a mode in which it is seldom; and who watches operators, to count
        # them for instance, would be compiled with them.
        if not model.training or torch._C._len_torch_function_stack():
            return forward(model, batch)
        for leaf in tree_leaves(batch) if free else ():
            if isinstance(leaf, torch.Tensor):
                torch._dynamo.maybe_mark_dynamic(leaf, list(range(leaf.dim())))
        return quick(model, batch)

    return run
