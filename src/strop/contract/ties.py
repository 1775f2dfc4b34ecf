"""Traits, and what an instruction needs, adds and excludes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Trait(StrEnum):
    """A property that a whole recipe has or lacks, whatever the order of its instructions."""

    INFERENCE = "inference workload"
    TRAINING = "training workload"
    SERVING = "serving workload"
    TEACHER = "a teacher, and data to learn from it with"
    ENGINE = "an engine other than eager"
    EAGER_ENGINE = "the eager engine"
    DYNAMIC_INT8_ENGINE = "an engine that quantises activations on the fly"
    STATIC_INT8_ENGINE = "an engine that runs calibrated int8"
    BF16_ENGINE = "an engine that runs bfloat16"
    QUANTIZED = "quantised weights"
    REDUCED_PRECISION = "reduced floating-point precision"
    COMPILED = "a compiled graph"
    RANKS = "several ranks that average their gradients"
    ACCELERATOR = "an accelerator"


@dataclass(frozen=True, slots=True)
class Ties:
    """What an instruction, with its settings, asks of the rest of the recipe.

    Attributes:
        needs: traits that the start or another instruction must add.
        adds: traits this instruction gives the recipe.
        excludes: traits that neither the start nor another instruction may add.
    """

    needs: frozenset[Trait] = frozenset()
    adds: frozenset[Trait] = frozenset()
    excludes: frozenset[Trait] = frozenset()


def ties(*, needs: tuple[Trait, ...] = (), adds: tuple[Trait, ...] = (), excludes: tuple[Trait, ...] = ()) -> Ties:
    """Build :class:`Ties` from plain tuples."""
    return Ties(frozenset(needs), frozenset(adds), frozenset(excludes))
