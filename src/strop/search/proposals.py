"""Which recipes are worth trying: the smallest legal groups first, then additions to what has won."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from strop import catalogue
from strop.contract.draft import Facts
from strop.contract.instruction import Instruction
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.host import Host
from strop.pipeline import legal

COST_SECONDS = (15.0, 22.0, 150.0)
"""Typical trial, preparing included, by cost class (free, calibrate, fit); only the order of trying depends on it."""


def variants(facts: Facts, host: Host, start: frozenset[Trait], only: Iterable[int] = ()) -> list[Instruction]:
    """Return every built instruction with each value of its first choice worth racing on its own.

    An instruction that chooses among back ends gives one variant per back end; other settings keep their defaults until
    the instruction has won.
    """
    wanted = set(only)
    found: list[Instruction] = []
    for row in catalogue.built():
        if row.cls is None or not issubclass(row.cls, Instruction) or (wanted and row.number not in wanted):
            continue
        default = row.cls()
        if not _could_apply(default, start):
            continue
        alternatives = {(default.ties().adds): default}
        for field, values in default.space(facts, host).items():
            for value in values:
                other = row.cls(**{field: value})
                alternatives.setdefault(other.ties().adds, other)
        found += alternatives.values()
    return found


def groups(instructions: Sequence[Instruction], start: frozenset[Trait], gains: Mapping[int, float]) -> list[Recipe]:
    """Return the smallest legal groups: each instruction alone, or with one enabler that brings what it needs.

    Best promised gain per second of preparing first; ``gains`` are predictions by instruction number.
    """
    enablers = [i for i in instructions if i.card.enabler]
    found: dict[str, Recipe] = {}
    for instruction in instructions:
        alone = Recipe([instruction])
        candidates = [alone] if legal(alone, start) is None else []
        if not candidates or not instruction.card.enabler:
            pairs = [Recipe([instruction, e]) for e in enablers if e.number != instruction.number]
            useful = [p for p in pairs if legal(p, start) is None and (not candidates or _enables(instruction, p))]
            candidates += useful
        found.update({recipe.key: recipe for recipe in candidates})
    return sorted(found.values(), key=lambda recipe: promise(recipe, gains), reverse=True)


def additions(
    stack: Recipe, instructions: Sequence[Instruction], facts: Facts, host: Host, start: frozenset[Trait]
) -> list[Recipe]:
    """Return the stack with one more instruction, or with one setting of its own changed to another choice."""
    found: dict[str, Recipe] = {}
    numbers = {i.number for i in stack}
    for instruction in instructions:
        if instruction.number not in numbers:
            found.setdefault((added := stack.with_(instruction)).key, added)
    for member in stack:
        for field, values in member.space(facts, host).items():
            for value in values:
                changed = stack.with_(replace(member, **{field: value}))  # type: ignore[type-var]
                found.setdefault(changed.key, changed)
    found.pop(stack.key, None)
    return sorted((r for r in found.values() if legal(r, start) is None), key=lambda r: _step_promise(stack, r), reverse=True)


def removals(stack: Recipe, start: frozenset[Trait]) -> list[tuple[Instruction, Recipe]]:
    """Return each instruction that can be taken out on its own, with what remains."""
    found = [(i, stack.without(i.number)) for i in stack]
    return [(i, rest) for i, rest in found if len(rest) and legal(rest, start) is None]


def promise(recipe: Recipe, gains: Mapping[int, float]) -> float:
    """Return the logarithm of the expected gain per second of preparing; gains of a group multiply."""
    gain = math.prod(gains.get(i.number, i.card.prior) for i in recipe)
    return math.log(max(gain, 1.0)) / max(COST_SECONDS[i.card.cost] for i in recipe)


def _step_promise(stack: Recipe, recipe: Recipe) -> float:
    added = [i for i in recipe if i not in stack.instructions]
    return promise(Recipe(added), {}) if added else 0.0


def _enables(instruction: Instruction, pair: Recipe) -> bool:
    """An enabler is worth racing beside an instruction only if that instruction asks for something it brings."""
    others = [i for i in pair if i.number != instruction.number]
    return any(instruction.ties().needs & other.ties().adds for other in others)


def _could_apply(instruction: Instruction, start: frozenset[Trait]) -> bool:
    return not (instruction.ties().excludes & start)
