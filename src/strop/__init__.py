"""strop makes PyTorch models faster, smaller and safer to run, and proves it by paired measurement.

Every public name is loaded on first use, so that ``import strop`` stays cheap and imports neither torch nor an engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.api import Result, apply, compare, diagnose, open_bundle, optimize, rerun, verify
    from strop.contract.quality import MaxDrop, Quality, accuracy, agreement, corpus_metric, per_example
    from strop.contract.recipe import Recipe
    from strop.contract.workload import InferenceWorkload, Split

__version__ = "0.1.0"

_HOME = {
    "InferenceWorkload": "strop.contract.workload",
    "MaxDrop": "strop.contract.quality",
    "Quality": "strop.contract.quality",
    "Recipe": "strop.contract.recipe",
    "Result": "strop.api",
    "Split": "strop.contract.workload",
    "accuracy": "strop.contract.quality",
    "agreement": "strop.contract.quality",
    "apply": "strop.api",
    "compare": "strop.api",
    "corpus_metric": "strop.contract.quality",
    "diagnose": "strop.api",
    "open_bundle": "strop.api",
    "optimize": "strop.api",
    "per_example": "strop.contract.quality",
    "rerun": "strop.api",
    "verify": "strop.api",
}
"""Where each public name lives."""

__all__ = [
    "InferenceWorkload",
    "MaxDrop",
    "Quality",
    "Recipe",
    "Result",
    "Split",
    "__version__",
    "accuracy",
    "agreement",
    "apply",
    "compare",
    "corpus_metric",
    "diagnose",
    "open_bundle",
    "optimize",
    "per_example",
    "rerun",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'strop' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
