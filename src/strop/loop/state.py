"""States as data: copies, the state of all random numbers, and a form that safetensors and JSON can hold."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strop.errors import TrainingError

Tree = Any
"""Tensors, numbers, texts, booleans, ``None``, and lists, tuples and dicts of them."""


def copied(tree: Tree) -> Tree:
    """Return a state whose tensors belong to nobody else."""
    return mapped(lambda tensor: tensor.detach().clone(), tree)


def mapped(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """Rebuild a state with ``function`` applied to each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return type(tree)((key, mapped(function, value)) for key, value in tree.items())
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return type(tree)(mapped(function, value) for value in tree)
    return tree


def random_state() -> dict[str, Any]:
    """Return the state of torch's, numpy's and Python's global random numbers; of CUDA's where it is in use."""
    kind, words, *rest = np.random.get_state(legacy=True)
    state = {"torch": torch.get_rng_state(), "numpy": [kind, torch.from_numpy(np.asarray(words, dtype=np.int64)), *rest]}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return {**state, "python": random.getstate()}


def set_random_state(state: dict[str, Any]) -> None:
    """Go on drawing as from :func:`random_state`."""
    kind, words, *rest = state["numpy"]
    torch.set_rng_state(state["torch"])
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def own_random_numbers(seed: int) -> Iterator[None]:
    """Draw from ``seed`` inside; outside, the process's random numbers go on as if nothing had been drawn."""
    before = random_state()
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        set_random_state(before)


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor that is spread over the ranks; any other as it is."""
    part = getattr(tensor, "to_local", None)  # torch's DTensor, whose import would cost every process
    return tensor if part is None else part()


def packed(tree: Tree) -> tuple[dict[str, Tensor], Any]:
    """Take a state apart into named tensors and a JSON value that :func:`unpacked` puts together again.

    Tensors that share their memory, as tied weights do, are stored once; of one that is spread over ranks, this rank's part.

    Raises:
        TrainingError: something in the state is none of the kinds a checkpoint can hold; the message names it.
    """
    tensors: dict[str, Tensor] = {}
    seen: dict[tuple[Any, ...], str] = {}

    def pack(value: Any, where: str) -> Any:
        if isinstance(value, Tensor):
            value = local(value)
            mark = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride()) if value.numel() else (where,)
            if mark not in seen:
                seen[mark] = where
                tensors[where] = value.detach().cpu().contiguous().clone()
            return {"tensor": seen[mark]}
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}  # every digit, and the infinities that JSON lacks
        if isinstance(value, dict):
            return {"dict": [[pack(k, f"{where} key"), pack(v, f"{where}.{k}")] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [pack(v, f"{where}.{n}") for n, v in enumerate(value)]}
        raise TrainingError(
            f"a checkpoint cannot hold {where}, which is a {type(value).__name__}; its state_dict() should give tensors, numbers "
            f"and texts."
        )

    form = pack(tree, "state")
    return tensors, form


def unpacked(form: Any, tensors: dict[str, Tensor]) -> Tree:
    """Put together what :func:`packed` took apart."""
    if not isinstance(form, dict):
        return form
    ((kind, value),) = form.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "float":
        return float.fromhex(value)
    if kind == "dict":
        return {unpacked(k, tensors): unpacked(v, tensors) for k, v in value}
    return (list if kind == "list" else tuple)(unpacked(v, tensors) for v in value)
