"""What is fixed about an entry of the catalogue, whatever its settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Family(StrEnum):
    """The part of a model's life an entry belongs to; equals its folder."""

    DATA = "data"
    TRAINING = "training"
    INFERENCE = "inference"
    DEPLOYMENT = "deployment"
    TRUST = "trust"


class Aim(StrEnum):
    """What a user can ask strop to improve."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"
    SIZE = "size"
    QUALITY = "quality"
    PROTECTION = "protection"
    GOODPUT = "goodput"


class Fidelity(IntEnum):
    """How far an instruction may move the model's answers; larger is worse."""

    EXACT = 0
    """Bit-equal outputs (gradient-equal in training)."""
    ROUNDING = 1
    """Equal within a stated tolerance of floating-point rounding."""
    LOSSY = 2
    """Answers may change; only the quality guard decides."""


class Cost(IntEnum):
    """What preparing an instruction needs; orders the search."""

    FREE = 0
    CALIBRATE = 1
    FIT = 2


class Life(StrEnum):
    """How settled an entry is."""

    PLANNED = "planned"
    PREVIEW = "preview"
    STABLE = "stable"
    DEPRECATED = "deprecated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The fixed facts of an entry.

    Attributes:
        aims: what it can improve.
        fidelity: the worst over all its settings.
        cost: what preparing it needs.
        life: how settled it is.
        extra: the extra of the distribution that it needs, if any.
        enabler: raced together with what it enables, never dropped for losing alone.
        pinned: kept because the user asked for it; strop measures its efficacy and its price.
        prior: expected speed-up where it applies, before anything is known about this model (orders the search).
        aliases: other names users know it by.
    """

    aims: frozenset[Aim]
    fidelity: Fidelity
    cost: Cost = Cost.FREE
    life: Life = Life.STABLE
    extra: str | None = None
    enabler: bool = False
    pinned: bool = False
    prior: float = 1.05
    aliases: tuple[str, ...] = ()
