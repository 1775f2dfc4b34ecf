"""An inference call as every front understands it: arrays in the order of the signature, and what to send back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from strop.contract.signature import TensorSpec
from strop.serve.limits import Limits
from strop.serve.problem import Problem, bad
from strop.serve.request import LEVELS, ORDINARY
from strop.units import Seconds

Array = np.ndarray[Any, Any]


@dataclass(slots=True, kw_only=True)
class InferenceCall:
    """What a client asks.

    Attributes:
        arrays: inputs in the order of the signature.
        outputs: which outputs to send, as ``(place in the signature, as binary data)``.
        identifier: echoed.
        level: priority, 1 most urgent.
        timeout: seconds after which the client no longer wants an answer.
    """

    arrays: list[Array]
    outputs: list[tuple[int, bool]]
    identifier: str = ""
    level: int = ORDINARY
    timeout: Seconds | None = None


def check_shape(spec: TensorSpec, shape: object, limits: Limits) -> tuple[tuple[int, ...], int]:
    """Return a shape and its number of elements, before anything is allocated for it.

    Raises:
        Problem: it is no shape, does not fit the signature, or is too large; the message names the input.
    """
    if isinstance(shape, list | tuple) and len(shape) == len(spec.shape):
        count = 1
        for got, want in zip(shape, spec.shape, strict=True):
            if type(got) is not int or got < 0 or (want is not None and got != want):
                break
            count *= got
        else:
            if 0 < count <= limits.elements:
                return tuple(shape), count
    raise _misfit(spec, shape, limits)


def _misfit(spec: TensorSpec, shape: object, limits: Limits) -> Problem:
    """Say what is wrong with a shape."""
    if not isinstance(shape, list | tuple) or not all(type(size) is int and size >= 0 for size in shape):
        return bad(f"input {spec.name!r}: the shape must be a list of sizes, 0 or more.")
    if len(shape) != len(spec.shape) or any(want not in (None, got) for want, got in zip(spec.shape, shape, strict=True)):
        return bad(f"input {spec.name!r} has shape {shown(shape)}; {wanted(spec)} was expected.")
    if 0 in shape:
        return bad(f"input {spec.name!r} is empty: shape {shown(shape)}.")
    return bad(f"input {spec.name!r} has {shown([math.prod(shape)])[1:-1]} elements; {limits.elements} are allowed.")


def read_options(parameters: object) -> tuple[int, Seconds | None]:
    """Return level and timeout from a request's parameters ``priority`` and ``timeout`` (microseconds).

    Priority 0 means none given; 1 is the most urgent, and what is beyond the last level counts as the last.

    Raises:
        Problem: they are not whole numbers of 0 or more.
    """
    if parameters == {}:
        return ORDINARY, None
    if not isinstance(parameters, dict):
        raise bad("parameters must be an object.")
    priority, timeout = parameters.get("priority", 0), parameters.get("timeout", 0)
    if type(priority) is not int or type(timeout) is not int or min(priority, timeout) < 0:
        raise bad("the parameters priority and timeout (microseconds) must be whole numbers, 0 or more.")
    return min(priority, LEVELS) or ORDINARY, timeout / 1e6 if timeout else None


def shown(sizes: object) -> str:
    """Write what a client sent, cut short."""
    text = str(sizes)
    return text if len(text) <= 60 else f"{text[:60]}…"


def wanted(spec: TensorSpec) -> str:
    """Write the shape of a signature; −1 is any size, as in the protocol."""
    return str([-1 if size is None else size for size in spec.shape])
