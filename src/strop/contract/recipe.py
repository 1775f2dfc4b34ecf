"""A set of instructions with settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from strop.contract.instruction import Instruction
from strop.contract.settings import encode
from strop.errors import RecipeError


@dataclass(frozen=True)
class Recipe:
    """A *set* of instructions, each number at most once, kept and printed in canonical (numeric) order. Pure data."""

    instructions: tuple[Instruction, ...]

    def __init__(self, instructions: Iterable[Instruction] = ()) -> None:
        ordered = tuple(sorted(instructions, key=lambda i: i.number))
        numbers = [i.number for i in ordered]
        twice = sorted({n for n in numbers if numbers.count(n) > 1})
        if twice:
            raise RecipeError(f"instruction {', '.join(f'{n:02d}' for n in twice)} appears more than once in the recipe.")
        object.__setattr__(self, "instructions", ordered)

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions)

    def __len__(self) -> int:
        return len(self.instructions)

    def with_(self, *added: Instruction) -> Recipe:
        """Return the recipe with ``added``, each replacing an instruction of the same number."""
        numbers = {a.number for a in added}
        return Recipe([*(i for i in self if i.number not in numbers), *added])

    def without(self, *numbers: int) -> Recipe:
        """Return the recipe less the given numbers."""
        return Recipe(i for i in self if i.number not in numbers)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return name → settings that differ from their defaults."""
        return {i.name: encode(i) for i in self}

    @cached_property
    def key(self) -> str:
        """A short, stable digest of names and settings; names the trial."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        if not self.instructions:
            return "baseline"
        return " + ".join(
            f"{i.number:02d} {i.name}" + (f"({', '.join(f'{k}={v}' for k, v in encode(i).items())})" if encode(i) else "")
            for i in self
        )
