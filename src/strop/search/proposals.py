"""Which recipes are worth trying: the smallest legal groups first, then additions to what has won."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from strop import catalogue
from strop.contract.draft import Facts
from strop.contract.instruction import Instruction
from strop.contract.moment import Moment
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.host import Host
from strop.pipeline import legal

GROUP_SPREAD, SIBLING_SPREAD, NETWORK_SPREAD, STEP_SPREAD = 0.4, 0.25, 0.25, 0.15
"""How far the logarithm of a gain lies from its prediction: what a whole group does is known less than what a step adds. A
group whose instructions were tried with other settings lies in between, and so does a step to another network."""

OPENING_GAIN, SETTING_GAIN = 1.2, 1.03
"""Expected gain of another choice for a setting of the stack: one that acts at opening, and any other."""

OVERLAP = 0.25
"""An instruction added to a stack gives about this part of (the logarithm of) what it would give alone: most of what one
treats, another has treated before."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A recipe worth trying, and what is believed about it before it was.

    Attributes:
        recipe: what to try.
        against: key of the stack it is an addition to; empty: a group, tried against the original.
        mean: expected logarithm of its speed-up over the original.
        spread: standard deviation of that belief.
    """

    recipe: Recipe
    against: str = ""
    mean: float = 0.0
    spread: float = GROUP_SPREAD

    def improvement(self, best: float) -> float:
        """Return the expected improvement ``E[max(gain - best, 0)]`` for a normal belief (Jones, Schonlau and Welch 1998)."""
        z = (self.mean - best) / self.spread
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return self.spread * (z * 0.5 * math.erfc(-z / math.sqrt(2)) + density)


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
        choices = [row.cls(**{name: value}) for name, values in default.space(facts, host).items() for value in values]
        alternatives: dict[frozenset[Trait], Instruction] = {}
        for variant in (default, *choices):
            if _could_apply(variant, start):
                alternatives.setdefault(variant.ties().adds, variant)
        found += alternatives.values()
    return found


def barred(facts: Facts, host: Host, start: frozenset[Trait], only: Iterable[int] = ()) -> list[Instruction]:
    """Return the instructions that would be tried of this workload if it were not on an accelerator."""
    there = {i.number for i in variants(facts, host, start, only)}
    if Trait.ACCELERATOR not in start:
        return []
    return list({i.number: i for i in variants(facts, host, start - {Trait.ACCELERATOR}, only) if i.number not in there}.values())


def groups(instructions: Sequence[Instruction], start: frozenset[Trait], gains: Mapping[int, float]) -> list[Proposal]:
    """Return the smallest legal groups: each instruction alone, or with one enabler that brings what it needs.

    ``gains`` are predictions by instruction number; the card's prior stands in where they are silent.
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
    return [Proposal(r, mean=expected_gain(r, gains)) for r in found.values()]


def expected_gain(instructions: Iterable[Instruction], gains: Mapping[int, float]) -> float:
    """Return the logarithm of what instructions are predicted to give together, each as much as alone."""
    return sum(math.log(gains.get(i.number, i.card.prior)) for i in instructions)


def additions(
    stack: Recipe, gain: float, instructions: Sequence[Instruction], facts: Facts, host: Host, start: frozenset[Trait]
) -> list[Proposal]:
    """Return the stack with one more instruction, or with one setting of its own changed to another choice.

    ``gain`` is the logarithm of the stack's speed-up over the original.
    """
    found: dict[str, Proposal] = {}
    numbers = {i.number for i in stack}
    for instruction in instructions:
        if instruction.number not in numbers:
            network = Moment.SOURCE in instruction.moments()  # a smaller one is smaller on any engine
            mean = gain + (1.0 if network else OVERLAP) * math.log(instruction.card.prior)
            spread = NETWORK_SPREAD if network else STEP_SPREAD
            proposal = Proposal(stack.with_(instruction), against=stack.key, mean=mean, spread=spread)
            found.setdefault(proposal.recipe.key, proposal)
    for member in stack:
        for name, values in member.space(facts, host).items():
            mean = gain + math.log(OPENING_GAIN if name in member.opening else SETTING_GAIN)
            for value in values:
                changed = stack.with_(replace(member, **{name: value}))  # type: ignore[type-var]
                found.setdefault(changed.key, Proposal(changed, against=stack.key, mean=mean, spread=STEP_SPREAD))
    found.pop(stack.key, None)
    return [p for p in found.values() if legal(p.recipe, start) is None]


def removals(stack: Recipe, start: frozenset[Trait]) -> list[tuple[Instruction, Recipe]]:
    """Return each instruction that can be taken out on its own, with what remains."""
    found = [(i, stack.without(i.number)) for i in stack]
    return [(i, rest) for i, rest in found if len(rest) and legal(rest, start) is None]


def _enables(instruction: Instruction, pair: Recipe) -> bool:
    """An enabler is worth racing beside an instruction only if that instruction asks for something it brings."""
    others = [i for i in pair if i.number != instruction.number]
    return any(instruction.ties().needs & other.ties().adds for other in others)


def _could_apply(instruction: Instruction, start: frozenset[Trait]) -> bool:
    return not (instruction.ties().excludes & start)
