"""What the verbs return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strop.catalogue import read_recipe
from strop.contract.recipe import Recipe
from strop.measure.result import Comparison
from strop.report.model import RunReport

if TYPE_CHECKING:
    from strop.contract.engine import Program

KEPT, FAILED, NOTHING_PAID, INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run.

    Attributes:
        folder: the run directory.
        report: everything that is known about the run.
    """

    folder: Path
    report: RunReport

    @property
    def exit_code(self) -> int:
        """0 something was kept, 3 nothing paid, 1 failed, 130 interrupted."""
        return self.report.outcome.exit_code

    @property
    def recipe(self) -> Recipe:
        """The confirmed recipe; empty when nothing paid."""
        return read_recipe(self.report.recipe_yaml) if self.exit_code == KEPT else Recipe()

    @property
    def comparisons(self) -> Mapping[str, Comparison]:
        """Operating point → confirmed comparison with the original; ``"all"`` over the points."""
        return {c.point: c for c in self.report.gate.comparisons} if self.report.gate else {}

    @property
    def bundle(self) -> Path | None:
        """The folder of the faster model; ``None`` when nothing paid."""
        folder = self.folder / "bundle"
        return folder if (folder / "manifest.json").exists() else None

    def program(self) -> Program:
        """Open the bundle: a drop-in callable for the model.

        Raises:
            UsageError: nothing paid, so there is no bundle.
        """
        from strop.api.bundles import open_bundle
        from strop.errors import UsageError

        if self.bundle is None:
            raise UsageError(f"{self.folder} holds no bundle: {self.report.outcome.reason or 'nothing paid'}.")
        return open_bundle(self.bundle)
