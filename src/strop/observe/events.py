"""The one event type and the observer protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How much an event matters to somebody watching."""

    DETAIL = "detail"
    PROGRESS = "progress"
    RESULT = "result"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        name: a dotted, stable name such as ``"trial.screened"``; sinks select on it.
        level: how much it matters.
        text: one line for a person.
        data: JSON-able facts for a program.
        at: seconds since the epoch.
    """

    name: str
    text: str = ""
    level: Level = Level.PROGRESS
    data: Mapping[str, object] = field(default_factory=dict)
    at: float = field(default_factory=time.time)


Observer = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore the event."""


def tee(*observers: Observer) -> Observer:
    """Return an observer that passes each event to all of ``observers`` in order."""

    def observe(event: Event) -> None:
        for observer in observers:
            observer(event)

    return observe
