"""Trees of arrays as plain data: flatten, describe in JSON, rebuild. Knows torch tensors and modules without importing torch.

A *leaf* is a numpy array or a torch tensor. Numbers, strings, booleans and ``None`` are constants and become part of
the description. Dataclasses, named tuples and mapping-like model outputs come back as :class:`Record`, because the
process that opens a bundle need not have their classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from strop.errors import WorkloadError

Spec = dict[str, Any]
"""JSON-able description of a tree; ``{"kind": "leaf", "index": i}`` points at the i-th leaf."""


class Record(dict[str, Any]):
    """A rebuilt structured output: read fields by name, by attribute or by position, as users of model outputs do."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no field {name!r}; fields: {', '.join(self)}") from None

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | slice):
            return tuple(self.values())[key]
        return super().__getitem__(key)


def is_leaf(value: object) -> bool:
    """Tell whether ``value`` is an array: a numpy array, a numpy scalar or a torch tensor."""
    return isinstance(value, np.ndarray | np.generic) or _is_tensor(value)


def is_module(value: object) -> bool:
    """Tell whether ``value`` is a ``torch.nn.Module``, and not a class or function that builds one."""
    return any(c.__module__ == "torch.nn.modules.module" and c.__name__ == "Module" for c in type(value).__mro__)


def flatten(tree: object) -> tuple[list[Any], Spec]:
    """Take the arrays out of a tree.

    Returns:
        The leaves in a stable order, and a JSON-able description for :func:`unflatten`.

    Raises:
        WorkloadError: the tree holds something that is neither an array, a constant nor a known container.
    """
    leaves: list[Any] = []
    return leaves, _describe(tree, leaves, "value")


def unflatten(spec: Spec, leaves: Sequence[Any]) -> Any:
    """Rebuild the tree that :func:`flatten` described, with other leaves in the same order."""
    kind = spec["kind"]
    if kind == "leaf":
        return leaves[spec["index"]]
    if kind == "constant":
        return spec["value"]
    children = [unflatten(child, leaves) for child in spec["children"]]
    if kind == "list":
        return children
    if kind == "tuple":
        return tuple(children)
    fields = dict(zip(spec["keys"], children, strict=True))
    return Record(fields) if kind == "record" else fields


def leaf_names(spec: Spec, prefix: str = "") -> list[str]:
    """Name each leaf by its path, in leaf order: ``input_ids``, ``output_0``, ``layers_2_k``."""
    if spec["kind"] == "leaf":
        return [prefix or "output"]
    if spec["kind"] == "constant":
        return []
    keys = spec.get("keys") or [str(i) for i in range(len(spec["children"]))]
    names: list[str] = []
    for key, child in zip(keys, spec["children"], strict=True):
        names += leaf_names(child, f"{prefix}_{key}" if prefix else str(key))
    return names


def map_leaves(function: Callable[[Any], Any], tree: object) -> Any:
    """Rebuild ``tree`` with ``function`` applied to each leaf."""
    leaves, spec = flatten(tree)
    return unflatten(spec, [function(leaf) for leaf in leaves])


def to_numpy(leaf: Any) -> np.ndarray[Any, Any]:
    """Return a leaf as a numpy array; bfloat16 tensors, which numpy lacks, become float32."""
    if _is_tensor(leaf):
        leaf = leaf.detach().cpu()
        return np.asarray((leaf.float() if str(leaf.dtype) == "torch.bfloat16" else leaf).numpy())
    return np.asarray(leaf)


def _is_tensor(value: object) -> bool:
    return any(c.__module__ == "torch" and c.__name__ == "Tensor" for c in type(value).__mro__)


def _describe(tree: object, leaves: list[Any], where: str) -> Spec:
    if is_leaf(tree):
        leaves.append(tree)
        return {"kind": "leaf", "index": len(leaves) - 1}
    if tree is None or isinstance(tree, bool | int | float | str):
        return {"kind": "constant", "value": tree}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type | Mapping):
        items = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}
        return _branch("record", items, leaves, where)
    if isinstance(tree, Mapping):
        kind = "dict" if type(tree) is dict else "record"
        items = {str(k): v for k, v in tree.items()}
        if len(items) < len(tree):
            raise WorkloadError(f"{where} has different keys that read the same among {list(items)}; name each by another text.")
        return _branch(kind, items, leaves, where)
    if isinstance(tree, tuple) and hasattr(tree, "_asdict"):
        return _branch("record", tree._asdict(), leaves, where)
    if isinstance(tree, tuple | list):
        children = [_describe(child, leaves, f"{where}[{i}]") for i, child in enumerate(tree)]
        return {"kind": "tuple" if isinstance(tree, tuple) else "list", "children": children}
    raise WorkloadError(
        f"{where} is a {type(tree).__name__}; tensors, numbers, strings, None, and dicts, dataclasses, "
        f"lists and tuples of them can be used. Return or pass those instead."
    )


def _branch(kind: str, items: Mapping[str, Any], leaves: list[Any], where: str) -> Spec:
    children = [_describe(child, leaves, f"{where}.{key}") for key, child in items.items()]
    return {"kind": kind, "keys": list(items), "children": children}
