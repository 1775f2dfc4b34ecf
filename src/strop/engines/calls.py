"""The short way from a user's call to an engine's arrays and back, run on every call; no torch needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from strop.contract.engine import Engine
from strop.contract.pytree import flatten, to_numpy, unflatten
from strop.contract.signature import Signature, TensorSpec, call_leaves
from strop.errors import ArtefactError, MissingExtraError, UsageError, WorkloadError

Array = np.ndarray[Any, Any]


class CallReader:
    """Reads the arrays of a call in the order of a signature.

    Calls whose arguments are all arrays take a path of a few microseconds; others go through the general tree code.

    Args:
        signature: what the program was prepared for.
    """

    def __init__(self, signature: Signature) -> None:
        positional, keywords = signature.input_tree["children"]
        self._signature = signature
        self._count = len(positional["children"])
        self._keys: tuple[str, ...] = tuple(keywords["keys"])
        self._key_set = frozenset(self._keys)
        self._flat = all(child["kind"] == "leaf" for child in (*positional["children"], *keywords["children"]))
        self._expected = [(spec, _dtypes(spec), _fixed(spec)) for spec in signature.inputs]

    def leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the arrays of a call as they came, in signature order.

        Raises:
            WorkloadError: the call does not have the structure of the signature.
        """
        if self._flat and len(args) == self._count and kwargs.keys() == self._key_set:
            leaves = [*args, *(kwargs[key] for key in self._keys)]
            if all(hasattr(leaf, "shape") for leaf in leaves):
                return leaves
        return call_leaves((args, kwargs), self._signature)

    def checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the arrays of a call as they came, after checking dtypes and shapes.

        Raises:
            WorkloadError: structure, dtype, number of dimensions or a fixed dimension does not fit.
        """
        leaves = self.leaves(args, kwargs)
        for leaf, (spec, names, fixed) in zip(leaves, self._expected, strict=True):
            shape = leaf.shape
            if leaf.dtype not in names and str(leaf.dtype).removeprefix("torch.") not in names:
                raise WorkloadError(self._misfit(leaf, spec))
            if len(shape) != len(spec.shape) or any(shape[i] != size for i, size in fixed):
                raise WorkloadError(self._misfit(leaf, spec))
        return leaves

    def arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Array], bool]:
        """Return the arrays of a call as contiguous numpy arrays, and whether torch tensors came.

        Raises:
            WorkloadError: structure, dtype, number of dimensions or a fixed dimension does not fit.
        """
        arrays, came_as_torch = [], False
        for leaf in self.checked(args, kwargs):
            array = leaf
            if not isinstance(leaf, np.ndarray):
                came_as_torch = came_as_torch or not isinstance(leaf, np.generic)
                array = to_numpy(leaf)
            arrays.append(array if array.flags.c_contiguous else np.ascontiguousarray(array))
        return arrays, came_as_torch

    @staticmethod
    def _misfit(leaf: Any, spec: TensorSpec) -> str:
        wanted = ", ".join("any" if size is None else str(size) for size in spec.shape)
        came = ", ".join(map(str, leaf.shape))
        return f"input {spec.name} is {leaf.dtype}[{came}]; the program was prepared for {spec.dtype}[{wanted}]. Convert it."


class AnswerWriter:
    """Rebuilds an answer in the structure of the original model's.

    Args:
        signature: what the program was prepared for.
    """

    def __init__(self, signature: Signature) -> None:
        self._tree = signature.output_tree
        self._single = signature.output_tree["kind"] == "leaf"
        self._dtypes = [np.dtype(spec.dtype) for spec in signature.outputs]

    def from_arrays(self, arrays: Sequence[Array], as_torch: bool) -> Any:
        """Return the answer as numpy arrays or, sharing their memory, as torch tensors, in the original model's dtypes."""
        leaves: list[Any] = [a if a.dtype == t else a.astype(t) for a, t in zip(arrays, self._dtypes, strict=True)]
        if as_torch:
            import torch

            leaves = [torch.from_numpy(leaf) for leaf in leaves]
        return leaves[0] if self._single else unflatten(self._tree, leaves)

    def from_tensors(self, tensors: Sequence[Any], as_torch: bool) -> Any:
        """Return the answer from torch tensors; low-precision results are brought back to the original model's dtypes."""
        if not as_torch:
            return self.from_arrays([to_numpy(tensor) for tensor in tensors], as_torch=False)
        leaves = [self._restore(tensor, dtype) for tensor, dtype in zip(tensors, self._dtypes, strict=True)]
        return leaves[0] if self._single else unflatten(self._tree, leaves)

    def leaves(self, answer: Any) -> list[Any]:
        """Return the tensors of what a model answered, in signature order."""
        return [answer] if self._single else flatten(answer)[0]

    @staticmethod
    def _restore(tensor: Any, dtype: np.dtype[Any]) -> Any:
        low = tensor.is_floating_point() and tensor.dtype.itemsize < dtype.itemsize
        return tensor.float() if low else tensor


def tensors_of(leaves: Sequence[Any]) -> tuple[list[Any], bool]:
    """Return leaves as torch tensors, sharing memory with arrays where they are writable, and whether any was a tensor."""
    import torch

    came_as_torch = any(isinstance(leaf, torch.Tensor) for leaf in leaves)
    tensors = [
        leaf if isinstance(leaf, torch.Tensor) else torch.from_numpy(np.require(leaf, requirements="W")) for leaf in leaves
    ]
    return tensors, came_as_torch


def installed(*packages: str) -> bool:
    """Tell, without importing them, whether all top-level packages are installed."""
    return all(find_spec(package) is not None for package in packages)


def require(engine: Engine) -> None:
    """Raise ``MissingExtraError`` with the command to install it when an engine's packages are missing."""
    if not engine.available():
        raise MissingExtraError(f"engine {engine.name}", engine.extra or engine.name)


def refuse_buckets(engine: str, buckets: int) -> None:
    """Raise ``UsageError`` when shape buckets are asked of an engine that has none."""
    if buckets:
        raise UsageError(f"buckets={buckets} was asked, but engine {engine} has none. Use engine openvino, or buckets=0.")


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write what an engine needs for opening beside its artefact, as ``engine.json``."""
    (folder / "engine.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> dict[str, Any]:
    """Read :func:`write_settings` back.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    path = folder / "engine.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path.name} is missing or damaged ({error}). Prepare the artefact again.") from error
    if not isinstance(settings, dict):
        raise ArtefactError(f"{path.name} holds a {type(settings).__name__}, not settings. Prepare the artefact again.")
    return settings


def _fixed(spec: TensorSpec) -> tuple[tuple[int, int], ...]:
    return tuple((index, size) for index, size in enumerate(spec.shape) if size is not None)


def _dtypes(spec: TensorSpec) -> tuple[Any, ...]:
    """What a leaf's dtype may be: numpy's object, which compares fast, or the name; numpy has no bfloat16, seen as float32."""
    name = spec.dtype
    return (np.dtype(name), name, "bfloat16") if name == "float32" else (np.dtype(name), name)
