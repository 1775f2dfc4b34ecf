"""What the scheduler knows of a request, and how requests end."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from strop.units import Bytes, Seconds

LEVELS = 3
"""Levels of priority: 1 urgent, 2 ordinary, 3 whenever there is room."""
ORDINARY = 2


class Outcome(StrEnum):
    """How a request ended; each one ends exactly once."""

    OK = "ok"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests that can share a batch without anybody's answer changing.

    Attributes:
        group: what must agree for rows to be stacked: every fixed dimension, and every varying one that cannot be padded.
        width: elements of a row after padding; the cost of a batch follows ``rows * width``.
    """

    group: Hashable
    width: int


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A request as far as scheduling goes; its arrays are kept elsewhere under the same number.

    Nothing changes one. It is not frozen because one is made for every request, and freezing makes that thrice as slow.

    Attributes:
        number: unlike any other's.
        arrived: when the whole request had come, in seconds of the scheduler's clock.
        deadline: when its answer stops being useful.
        bucket: whom it can share a batch with.
        rows: rows it brings.
        size: bytes it holds while it waits.
        level: 1 to :data:`LEVELS`, 1 most urgent.
    """

    number: int
    arrived: Seconds
    deadline: Seconds
    bucket: Bucket
    rows: int = 1
    size: Bytes = 0
    level: int = ORDINARY
