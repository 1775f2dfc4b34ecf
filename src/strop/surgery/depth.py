"""The stack of like blocks that makes a network deep, and a shallower network with some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

Choice = Literal["spread", "first", "last"]
"""Which blocks stay: evenly spread over the depth, or those at either end."""


def stack_of(model: nn.Module, least: int = 2) -> str | None:
    """Return the name of the longest list or sequence of ``least`` or more blocks of one class; ``None``: there is none.

    A block has parameters and parts of its own, so a plain linear layer is none.
    """
    best, most = None, least - 1
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or not name:
            continue
        alike = len({type(block) for block in module}) == 1
        if alike and len(module) > most and all(list(b.children()) and any(True for _ in b.parameters()) for b in module):
            best, most = name, len(module)
    return best


def blocks_of(model: nn.Module, least: int = 2) -> list[nn.Module]:
    """Return the blocks of the model's stack, in order; empty where it has none."""
    name = stack_of(model, least)
    return list(model.get_submodule(name).children()) if name else []


def chosen(count: int, kept: int, choice: Choice) -> list[int]:
    """Return the places of the ``kept`` among ``count`` blocks that stay; spread ones hold the first and not the last.

    The last block's work is what the student learns first, and whichever block stands last is taught it.

    Raises:
        ValueError: fewer than one or more than there are would be kept.
    """
    if not 1 <= kept <= count:
        raise ValueError(f"from 1 to {count} blocks can be kept, got {kept}")
    if choice == "first":
        return list(range(kept))
    if choice == "last":
        return list(range(count - kept, count))
    return [place * count // kept for place in range(kept)]


def keep_blocks(model: nn.Module, places: Sequence[int]) -> int:
    """Leave only the blocks at ``places`` in the model's stack; return how many went.

    A transformer's blocks know their own number, by which they find their keys and values in a cache, and its configuration
    the number of blocks; both are set right.

    Raises:
        ValueError: the model has no stack.
    """
    name = stack_of(model)
    if name is None:
        raise ValueError("the model has no stack of like blocks")
    stack = model.get_submodule(name)
    blocks = list(stack.children())
    kept = [blocks[place] for place in places]
    for number, block in enumerate(kept):
        for module in block.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = number  # type: ignore[assignment]
    stack._modules.clear()  # the container stays, for its class may have a forward of its own
    stack._modules.update({str(number): block for number, block in enumerate(kept)})
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, "num_hidden_layers", None) == len(blocks):
            config.num_hidden_layers = len(kept)  # type: ignore[union-attr]
    return len(blocks) - len(kept)
