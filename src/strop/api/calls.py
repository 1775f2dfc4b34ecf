"""Calls and answers as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strop.bundle import read_manifest
from strop.contract.engine import Program
from strop.contract.pytree import flatten, map_leaves, to_numpy
from strop.contract.signature import Signature, TensorSpec
from strop.errors import UsageError


def answer_json(program: Program, bundle: Path, call: Any) -> Any:
    """Answer a call given as JSON: an object of named arrays, or a list of positional arrays.

    Args:
        program: the opened bundle.
        bundle: its folder, for the signature.
        call: the parsed JSON.

    Returns:
        The answer with arrays as nested lists.

    Raises:
        UsageError: the call does not fit the signature; the message says what is expected.
    """
    signature = read_manifest(bundle).signature
    if not isinstance(call, dict | list):
        raise UsageError(
            f"a call is an object of named arrays or a list of arrays; got a {type(call).__name__}. {_expected(signature)}"
        )
    positional, keywords = signature.input_tree["children"]
    if isinstance(call, dict) and set(call) != set(keywords["keys"]):
        raise UsageError(f"the call names {', '.join(map(str, call)) or 'nothing'}. {_expected(signature)}")
    if isinstance(call, list) and len(call) != len(positional["children"]):
        raise UsageError(f"the call holds {len(call)} arrays. {_expected(signature)}")
    args = call if isinstance(call, list) else []
    kwargs = {key: call[key] for key in keywords["keys"]} if isinstance(call, dict) else {}
    specs = iter(signature.inputs)
    args = [_argument(value, child, specs) for value, child in zip(args, positional["children"], strict=True)]
    kwargs = {
        key: _argument(value, child, specs) for (key, value), child in zip(kwargs.items(), keywords["children"], strict=True)
    }
    answer = map_leaves(to_numpy, program(*args, **kwargs))
    leaves, tree = flatten(answer)
    return _plain(tree, leaves)


def _argument(value: Any, tree: Mapping[str, Any], specs: Iterator[TensorSpec]) -> Any:
    """Read one argument: an array, a constant that the program was prepared with, or a list or object of them."""
    if tree["kind"] == "leaf":
        return _array(value, next(specs))
    if tree["kind"] == "constant":
        if value != tree["value"]:
            raise UsageError(f"the program was prepared for the constant {tree['value']!r}; {value!r} came.")
        return tree["value"]
    keys = tree.get("keys")
    if not isinstance(value, dict if keys else list) or len(value) != len(tree["children"]) or (keys and set(value) != set(keys)):
        wanted = f"an object of {', '.join(map(str, keys))}" if keys else f"a list of {len(tree['children'])}"
        raise UsageError(f"{wanted} was expected; got a {type(value).__name__}.")
    parts = [value[key] for key in keys] if keys else value
    read = [_argument(part, child, specs) for part, child in zip(parts, tree["children"], strict=True)]
    return dict(zip(keys, read, strict=True)) if keys else tuple(read) if tree["kind"] == "tuple" else read


def _array(value: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value, dtype=spec.dtype)
        exact = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{spec.name} is not an array of {spec.dtype}: {error}.") from error
    if array.dtype.kind in "iub" and not np.array_equal(array, exact):
        raise UsageError(f"{spec.name} holds values that are no {spec.dtype}; nothing is rounded silently.")
    fits = array.ndim == len(spec.shape) and all(want in (None, got) for want, got in zip(spec.shape, array.shape, strict=True))
    if not fits:
        raise UsageError(f"{spec.name} has shape {list(array.shape)}, {_shape(spec)} was expected.")
    return array


def _plain(tree: dict[str, Any], leaves: list[Any]) -> Any:
    if tree["kind"] == "leaf":
        return leaves[tree["index"]].tolist()
    if tree["kind"] == "constant":
        return tree["value"]
    children = [_plain(child, leaves) for child in tree["children"]]
    return dict(zip(tree["keys"], children, strict=True)) if "keys" in tree else children


def _expected(signature: Signature) -> str:
    return "Expected: " + ", ".join(f"{spec.name} {spec.dtype} {_shape(spec)}" for spec in signature.inputs)


def _shape(spec: TensorSpec) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in spec.shape) + "]"
