"""What executes a lowered model: one file per engine, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from strop.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from strop.contract.engine import Engine

_CLASSES = MappingProxyType(
    {
        "eager": "EagerEngine",
        "inductor": "InductorEngine",
        "onnxruntime": "OnnxRuntimeEngine",
        "openvino": "OpenVinoEngine",
    }
)


def names() -> tuple[str, ...]:
    """Return the names of all engines, installed or not, in alphabetical order."""
    return tuple(sorted(_CLASSES))


def get(name: str) -> Engine:
    """Return the engine of that name; its packages are imported only when it lowers or opens.

    Raises:
        RecipeError: no engine has that name.
    """
    if name not in _CLASSES:
        raise RecipeError(f"there is no engine {name!r}.{did_you_mean(name, _CLASSES)}")
    engine: Engine = getattr(import_module(f"strop.engines.{name}"), _CLASSES[name])()
    return engine
