"""strop makes PyTorch models faster, smaller and safer to run, and proves it by paired measurement.

Every public name is loaded on first use, so that ``import strop`` stays cheap and imports neither torch nor an engine.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.api.apply import apply
    from strop.api.bundles import open_bundle
    from strop.api.compare import compare
    from strop.api.diagnose import diagnose
    from strop.api.inline import inline
    from strop.api.optimize import optimize
    from strop.api.rerun import rerun
    from strop.api.result import Result
    from strop.api.train import TrainingResult, train
    from strop.api.verify import verify
    from strop.contract.quality import MaxDrop, Quality, accuracy, agreement, corpus_metric, overlap, per_example, unjudged
    from strop.contract.recipe import Recipe
    from strop.contract.workload import InferenceWorkload, ServingWorkload, Split, TrainingWorkload

__version__ = "0.1.0"

_HOME = {
    "InferenceWorkload": "strop.contract.workload",
    "MaxDrop": "strop.contract.quality",
    "Quality": "strop.contract.quality",
    "Recipe": "strop.contract.recipe",
    "Result": "strop.api.result",
    "ServingWorkload": "strop.contract.workload",
    "Split": "strop.contract.workload",
    "TrainingResult": "strop.api.train",
    "TrainingWorkload": "strop.contract.workload",
    "accuracy": "strop.contract.quality",
    "agreement": "strop.contract.quality",
    "apply": "strop.api.apply",
    "compare": "strop.api.compare",
    "corpus_metric": "strop.contract.quality",
    "diagnose": "strop.api.diagnose",
    "inline": "strop.api.inline",
    "open_bundle": "strop.api.bundles",
    "optimize": "strop.api.optimize",
    "overlap": "strop.contract.quality",
    "per_example": "strop.contract.quality",
    "rerun": "strop.api.rerun",
    "train": "strop.api.train",
    "unjudged": "strop.contract.quality",
    "verify": "strop.api.verify",
}
"""Where each public name lives."""

__all__ = [
    "InferenceWorkload",
    "MaxDrop",
    "Quality",
    "Recipe",
    "Result",
    "ServingWorkload",
    "Split",
    "TrainingResult",
    "TrainingWorkload",
    "__version__",
    "accuracy",
    "agreement",
    "apply",
    "compare",
    "corpus_metric",
    "diagnose",
    "inline",
    "open_bundle",
    "optimize",
    "overlap",
    "per_example",
    "rerun",
    "train",
    "unjudged",
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


class _Package(ModuleType):
    """Keeps ``strop.diagnose`` the verb: importing the folder of that name would otherwise put the module in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
