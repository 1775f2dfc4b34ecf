"""Calls and answers as JSON."""

from __future__ import annotations

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
    args = [_array(value, next(specs)) for value in args]
    kwargs = {key: _array(value, next(specs)) for key, value in kwargs.items()}
    answer = map_leaves(to_numpy, program(*args, **kwargs))
    leaves, tree = flatten(answer)
    return _plain(tree, leaves)


def _array(value: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value, dtype=spec.dtype)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{spec.name} is not an array of {spec.dtype}: {error}.") from error
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
