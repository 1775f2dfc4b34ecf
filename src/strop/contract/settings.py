"""Settings as data: the fields of an entry to and from plain values, and the choices worth trying."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from strop.errors import RecipeError, did_you_mean

Space = Mapping[str, tuple[Any, ...]]
"""Field → values worth trying, the default first."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Choices:
    """Annotation of a field: the values worth trying, ``Annotated[int, Choices(8, 16)]``."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


def annotated_space(cls: type) -> Space:
    """Collect the ``Choices`` annotations of a dataclass's fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        choices = [a for a in getattr(hints[field.name], "__metadata__", ()) if isinstance(a, Choices)]
        if choices:
            found[field.name] = choices[0].values
    return found


def encode(entry: Any) -> dict[str, Any]:
    """Return the settings that differ from their defaults, as JSON- and YAML-able values."""
    changed = {}
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        if value != field.default:
            changed[field.name] = _plain(value)
    return changed


def decode(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build an entry from plain values, each read by its field's type, so that ``"1e-5"`` is a number where one is due.

    Raises:
        RecipeError: a setting is unknown or its value does not fit its type.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    name = cls.__name__
    for key in values:
        if key not in fields:
            raise RecipeError(f"{name} has no setting {key!r}.{did_you_mean(key, fields)}")
    read = {}
    for key, value in values.items():
        try:
            read[key] = _read(hints[key], value)
        except (ValueError, TypeError) as error:
            raise RecipeError(f"{name}: {key}: {error}") from error
    try:
        return cls(**read)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{name}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _read(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(args, value)
    if origin is Literal:
        for option in args:
            if value == option or (isinstance(value, str) and value == str(option)):
                return option
        raise ValueError(f"{value!r} is not one of {', '.join(map(repr, args))}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"a list was expected, got {value!r}")
        kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) != len(value):
            raise ValueError(f"a list of {len(kinds)} was expected, got {value!r}")
        return tuple(_read(kind, item) for kind, item in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"a mapping was expected, got {value!r}")
        return {key: _read(args[1], item) for key, item in value.items()}
    if hint is bool:
        return _read_bool(value)
    if hint in (int, float):
        return _read_number(hint, value)
    if hint is str and not isinstance(value, str):
        raise ValueError(f"text was expected, got {value!r}")
    return value


def _read_union(args: tuple[Any, ...], value: Any) -> Any:
    if type(None) in args and value in (None, "null", "none", "~", ""):
        return None
    problems = []
    for kind in (a for a in args if a is not type(None)):
        try:
            return _read(kind, value)
        except (ValueError, TypeError) as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))


def _read_number(kind: type[int] | type[float], value: Any) -> float:
    what = "whole number" if kind is int else "number"
    if isinstance(value, bool):
        raise ValueError(f"a {what} was expected, got {value!r}")
    try:
        number = kind(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"a {what} was expected, got {value!r}") from None
    if number != (value if isinstance(value, float) else number):  # cut off, or NaN, which differs from itself
        raise ValueError(f"a {what} was expected, got {value!r}")
    return number


def _read_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError(f"true or false was expected, got {value!r}")
