"""Blocks that a model repeats, what keeping their activations costs, and recomputing them instead."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from strop.surgery.saved import SavedBytes
from strop.units import Bytes, Seconds


@dataclass(frozen=True, slots=True)
class BlockCost:
    """What one block costs in a training step.

    Attributes:
        saved: bytes kept for backward inside it, its own inputs left out, since recomputing needs those.
        seconds: one forward.
    """

    saved: Bytes
    seconds: Seconds


def repeated(model: nn.Module) -> list[str]:
    """Return the outermost blocks that occur at least twice side by side: equal classes in one list or sequence, in order.

    Blocks without parameters are left out, and so are those that change a buffer when they run (batch norms), because a
    second forward would change it twice.
    """
    found: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or any(f"{name}.".startswith(f"{block}.") for block in found):
            continue
        counts = Counter(type(child) for child in module)
        found += [
            f"{name}.{key}" if name else key
            for key, child in module.named_children()
            if counts[type(child)] > 1 and list(child.children()) and recomputable(child)
        ]
    return found


def recomputable(block: nn.Module) -> bool:
    """Tell whether a block has parameters and may run twice."""
    return any(True for _ in block.parameters()) and not any(isinstance(m, _BatchNorm) for m in block.modules())


def costs(model: nn.Module, blocks: Sequence[str], run: Callable[[], object]) -> dict[str, BlockCost]:
    """Measure each block while ``run`` carries out a forward of the model in training mode.

    Times are the shortest of three runs; blocks of one class share the median of theirs, rounded to a power of two, so that
    noise does not decide between equals.
    """
    parameters = [*model.parameters(), *model.buffers()]
    saved: dict[str, Bytes] = {}
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(3):
        handles = [h for name in blocks for h in _watch(model.get_submodule(name), name, parameters, saved, times)]
        try:
            run()
        finally:
            for handle in handles:
                handle.remove()
    by_class: dict[str, list[float]] = defaultdict(list)
    for name in blocks:
        by_class[type(model.get_submodule(name)).__name__].append(min(times[name], default=math.inf))
    return {name: BlockCost(saved.get(name, 0), _rounded(by_class[type(model.get_submodule(name)).__name__])) for name in blocks}


def choose(found: Mapping[str, BlockCost], share: float) -> list[str]:
    """Return the blocks to recompute: those that free most bytes per second, until they hold ``share`` of all saved bytes."""
    order = sorted(found, key=lambda name: (-found[name].saved / max(found[name].seconds, 1e-12), list(found).index(name)))
    wanted, freed, chosen = share * sum(cost.saved for cost in found.values()), 0, list[str]()
    for name in order:
        if freed >= wanted:
            break
        if found[name].saved:
            chosen.append(name)
            freed += found[name].saved
    return [name for name in found if name in chosen]


def recompute(block: nn.Module) -> None:
    """Let a block forget its activations and compute them again during backward; :func:`keep_all` undoes it.

    Random numbers are drawn again as they were, so that dropout drops the same elements.
    """
    block.forward = Recomputing(block.forward)


def keep_all(model: nn.Module) -> None:
    """Undo every :func:`recompute` in a model."""
    for module in model.modules():
        own = vars(module).get("forward")
        if isinstance(own, Recomputing):
            del module.forward


class Recomputing:
    """A forward whose activations are not kept, where there will be a backward."""

    def __init__(self, plain: Callable[..., Any]) -> None:
        self._plain = plain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer as the plain forward does."""
        if not torch.is_grad_enabled():
            return self._plain(*args, **kwargs)
        return checkpoint(self._plain, *args, use_reentrant=False, **kwargs)


def _watch(
    block: nn.Module, name: str, parameters: list[Tensor], saved: dict[str, Bytes], times: dict[str, list[float]]
) -> list[Any]:
    state: dict[str, Any] = {}

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        state["saved"] = SavedBytes([*parameters, *inputs])
        state["saved"].__enter__()
        state["start"] = time.perf_counter()

    def leave(module: nn.Module, args: Any, kwargs: Any, answer: Any) -> None:
        if state:
            times[name].append(time.perf_counter() - state["start"])
            saved[name] = state["saved"].total
            state.pop("saved").__exit__(None, None, None)

    return [
        block.register_forward_pre_hook(enter, with_kwargs=True),
        block.register_forward_hook(leave, with_kwargs=True, always_call=True),
    ]


def _rounded(times: list[float]) -> float:
    middle = sorted(times)[len(times) // 2]
    return 2.0 ** round(math.log2(middle)) if 0 < middle < math.inf else middle
