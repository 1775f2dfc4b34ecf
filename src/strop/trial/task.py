"""What a preparing process is told, and where it leaves its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.trial.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One preparation.

    Attributes:
        reference: the workload.
        materials: folder of the workload's data on disk.
        recipe: name → settings.
        folder: where artefact and outcome go.
        seed: of every random choice.
        graphs: folder of graphs and trained weights that recipes share.
        origin: what artefacts depend on besides the recipe.
    """

    reference: Reference
    materials: Path
    recipe: Mapping[str, Mapping[str, Any]]
    folder: Path
    seed: int
    graphs: Path
    origin: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return {
            "reference": self.reference.to_json(),
            "materials": str(self.materials),
            "recipe": {name: dict(settings) for name, settings in self.recipe.items()},
            "folder": str(self.folder),
            "seed": self.seed,
            "graphs": str(self.graphs),
            "origin": dict(self.origin),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Task:
        """Rebuild a task from :meth:`to_json`."""
        return cls(
            reference=Reference(**row["reference"]),
            materials=Path(row["materials"]),
            recipe=row["recipe"],
            folder=Path(row["folder"]),
            seed=row["seed"],
            graphs=Path(row["graphs"]),
            origin=row["origin"],
        )
