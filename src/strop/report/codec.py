"""Frozen dataclasses to plain JSON and back, by their type hints."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from strop.errors import LedgerError, MeasureError, did_you_mean

T = TypeVar("T")

_INFINITE = {"Infinity": math.inf, "-Infinity": -math.inf}


def encode(value: Any, path: str = "report") -> Any:
    """Return ``value`` as dicts, lists, strings, numbers and ``None``.

    Infinite numbers become the strings ``"Infinity"`` and ``"-Infinity"``, because strict JSON has no word for them.

    Raises:
        MeasureError: a number is NaN, or something has no JSON form; the message names the place.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name), f"{path}.{f.name}") for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item, f"{path}[{key!r}]") for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [encode(item, f"{path}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise MeasureError(f"{path} is NaN; leave it out (None reads as 'not measured') or give a number.")
        return "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise MeasureError(f"{path} is a {type(value).__name__}, which has no JSON form; give text, numbers, tuples or mappings.")


def decode(kind: type[T], row: Any, path: str = "report") -> T:
    """Build a ``kind`` from what :func:`encode` returned; fields with defaults may be missing.

    Raises:
        LedgerError: a key is unknown or missing, or a value has the wrong type; the message names the place.
    """
    built: T = _decode(kind, row, path)
    return built


def _decode(kind: Any, row: Any, path: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if row is None and type(None) in args:
            return None
        return _decode(next(a for a in args if a is not type(None)), row, path)
    if is_dataclass(kind):
        return _dataclass(kind, row, path)
    if origin is tuple:
        return tuple(_decode(args[0], item, f"{path}[{n}]") for n, item in enumerate(_checked(row, list, path)))
    if origin is frozenset:
        return frozenset(_decode(args[0], item, f"{path}[{n}]") for n, item in enumerate(_checked(row, list, path)))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _decode(args[1], item, f"{path}[{key!r}]") for key, item in _checked(row, dict, path).items()}
    return _scalar(kind, row, path)


def _scalar(kind: Any, row: Any, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(row)
        except ValueError:
            raise LedgerError(f"{path} is {row!r}.{did_you_mean(str(row), [str(m.value) for m in kind])}") from None
    if kind is float:
        if isinstance(row, str) and row in _INFINITE:
            return _INFINITE[row]
        return float(_checked(row, (int, float), path))
    return _checked(row, kind, path)


def _dataclass(kind: Any, row: Any, path: str) -> Any:
    row = _checked(row, dict, path)
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for key in row:
        if key not in known:
            raise LedgerError(f"{path} holds the unknown key {key!r}.{did_you_mean(str(key), known)}")
    values = {}
    for name, f in known.items():
        if name in row:
            values[name] = _decode(hints[name], row[name], f"{path}.{name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise LedgerError(f"{path} lacks {name!r}; the record is damaged or was written by another version.")
    return kind(**values)


def _checked(row: Any, kind: Any, path: str) -> Any:
    wrong_bool = isinstance(row, bool) and kind is not bool
    if not isinstance(row, kind) or wrong_bool:
        wanted = kind.__name__ if isinstance(kind, type) else "number"
        raise LedgerError(f"{path} should be of type {wanted}; got {row!r}.")
    return row
