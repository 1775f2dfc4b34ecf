"""A program that is ready to serve."""

from __future__ import annotations

from dataclasses import dataclass

from strop.contract.engine import Program
from strop.contract.signature import Signature
from strop.serve.latency import Seed


@dataclass(frozen=True, slots=True)
class Opened:
    """A program, what it takes and gives, and how long its batches take.

    Attributes:
        program: opened and warm.
        signature: of the program.
        seeds: times to begin with.
    """

    program: Program
    signature: Signature
    seeds: tuple[Seed, ...]
