"""What executes a lowered model, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from strop.contract.device import PROCESSOR
from strop.contract.draft import Draft, EngineOptions
from strop.contract.signature import Signature
from strop.contract.ties import Trait
from strop.errors import PrepareError
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch import nn

Source = Callable[[], "nn.Module"]
"""Rebuilds the trial's model in code; only engines whose artefact is not self-contained ask for it."""


class Program(ABC):
    """An opened artefact: a drop-in callable for the model.

    Arrays come back in the kind they came in: torch tensors for torch tensors, numpy arrays for numpy arrays.
    """

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one call."""

    @property
    def compiled(self) -> int:
        """How many shapes were compiled on first use so far; warming goes on while it grows."""
        return 0

    @property
    def tensor_device(self) -> str | None:
        """Where a call allocates its tensors, as torch writes it; ``None``: they were allocated before, so no call shows them."""
        return PROCESSOR

    def close(self) -> None:  # noqa: B027 - most programs hold nothing that must be given back
        """Give back threads and memory; the program must not be called again."""


class Engine(ABC):
    """A back end. Concrete engines are final and live one per file in ``strop.engines``.

    Attributes:
        name: as users write it.
        extra: the extra of the distribution that brings its packages, or ``None``.
        adds: traits of a recipe that runs on it.
        needs_source: opening needs the model's own code.
        runs_code: opening an artefact can execute code in it, so foreign ones are refused unless named.
        imports_torch: opening imports torch.
        buckets: it can pad calls to a few shapes that it compiles exactly.
        converts: lowering starts from a graph that recipes can share; see :meth:`convert`.
    """

    name: ClassVar[str]
    extra: ClassVar[str | None]
    adds: ClassVar[frozenset[Trait]]
    needs_source: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False
    imports_torch: ClassVar[bool] = False
    converts: ClassVar[bool] = False
    buckets: ClassVar[bool] = False

    @abstractmethod
    def available(self) -> bool:
        """Tell, without importing it, whether the engine's packages are installed."""

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Say in words why this draft's intents cannot be executed, or return ``None``."""
        return None

    def convert(self, draft: Draft, graph: Path) -> None:
        """Write the draft's model as a floating-point graph into the folder ``graph``, before any intent is executed.

        Only where ``converts``: recipes that differ in nothing but intents then share one conversion.

        Raises:
            PrepareError: the model cannot be converted.
        """
        raise PrepareError(f"{self.name} lowers a model directly and converts no graph.")

    @abstractmethod
    def lower(self, draft: Draft, folder: Path, graph: Path | None = None) -> None:
        """Execute the draft's intents once and write a self-contained artefact into ``folder``.

        Counts what it changed in the tallies of the draft's intents. An engine that ``converts`` starts from ``graph``
        where it is given, and leaves ``draft.model`` alone then.

        Raises:
            PrepareError: the model cannot be lowered; the message names the operator or step.
        """

    @abstractmethod
    def open(self, folder: Path, signature: Signature, options: EngineOptions, source: Source | None = None) -> Program:
        """Open an artefact.

        Raises:
            ArtefactError: the artefact is damaged, or needs a source that was not given.
            MissingExtraError: the engine's packages are not installed.
        """
