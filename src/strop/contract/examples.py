"""Example inputs and outputs on disk: safetensors with the tree's description in the header. No pickle, no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from strop.contract.pytree import flatten, to_numpy, unflatten
from strop.errors import LedgerError, StropError


def write_examples(path: Path, trees: Sequence[object]) -> None:
    """Write trees of arrays to one file, atomically.

    Args:
        path: the ``.safetensors`` file.
        trees: the examples; leaves may be numpy arrays or torch tensors.

    Raises:
        StropError: the file cannot be written, for instance because the disk is full; the old content is intact.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    specs = []
    for number, tree in enumerate(trees):
        leaves, spec = flatten(tree)
        specs.append(spec)
        for index, leaf in enumerate(leaves):
            arrays[f"{number}/{index}"] = np.ascontiguousarray(to_numpy(leaf)).reshape(np.shape(leaf))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    try:
        save_file(arrays, temporary, metadata={"trees": json.dumps(specs)})
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise StropError(f"{path.name} cannot be written ({error}); free some space and continue with --resume.") from error


def read_examples(path: Path) -> list[Any]:
    """Read back what :func:`write_examples` wrote, leaves as numpy arrays.

    Raises:
        LedgerError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as stream:
            specs = json.loads(stream.metadata()["trees"])
            return [unflatten(spec, [stream.get_tensor(f"{n}/{i}") for i in range(_count(spec))]) for n, spec in enumerate(specs)]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LedgerError(f"{path} does not hold readable examples ({error}). Remove the run and start it again.") from error


def digest(tree: object) -> str:
    """Return a SHA-256 over structure, constants, dtypes, shapes and values of one example."""
    leaves, spec = flatten(tree)
    state = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(to_numpy(leaf))
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def elements(tree: object) -> int:
    """Return the number of array elements in an example, whichever way it is written as a call."""
    return sum(math.prod(leaf.shape) for leaf in flatten(tree)[0])


def _count(spec: dict[str, Any]) -> int:
    if spec["kind"] == "leaf":
        return 1
    return sum(_count(child) for child in spec.get("children", []))
