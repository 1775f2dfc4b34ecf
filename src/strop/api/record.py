"""A run directory, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.ledger.files import read_json
from strop.ledger.ledger import read_steps


@dataclass(frozen=True, slots=True)
class Record:
    """A run directory, read."""

    folder: Path
    plan: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read plan and steps."""
        return cls(folder, read_json(folder / "plan.json"), {step["key"]: step for step in read_steps(folder)})

    def result(self, key: str) -> Any:
        """Return a step's result, or ``None`` if the run did not get there."""
        return self.steps[key]["result"] if key in self.steps else None

    def under(self, prefix: str) -> list[Mapping[str, Any]]:
        """Return the results of all steps whose key begins with ``prefix/``."""
        return [step["result"] for key, step in self.steps.items() if key.startswith(f"{prefix}/")]

    @property
    def claimed(self) -> str | None:
        """Key of the recipe that the claim is about: the result, or the last one tested; ``None`` before any was."""
        end = self.result("end")
        tested = [key.partition("/")[2] for key in self.steps if key.startswith(("quality/", "confirm/"))]
        return (end["result"] if end else None) or (tested[-1] if tested else None)

    @property
    def confirmed(self) -> Mapping[str, Any] | None:
        """Timing of the claim; ``None`` where none was made, or quality had already refuted it."""
        row: Mapping[str, Any] | None = self.result(f"confirm/{self.claimed}")
        return row if row is not None and row["confirm"] is not None else None
