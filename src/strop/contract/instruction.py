"""The three kinds of entries that act on, look at, or render from a trial."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from strop.contract.card import Card, Fidelity
from strop.contract.draft import Draft, Facts
from strop.contract.moment import Moment
from strop.contract.settings import Space, annotated_space
from strop.contract.ties import Ties
from strop.measure.host import Host
from strop.measure.result import Finding

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What must be settled before a process starts.

    Attributes:
        environment: variables to set.
        processes: how many ranks.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1


class Entry(ABC):
    """Something with a number and a name, both read from its file name ``iNN_name.py``."""

    card: ClassVar[Card]

    @property
    def number(self) -> int:
        """The catalogue number."""
        return identity(type(self))[0]

    @property
    def name(self) -> str:
        """The catalogue name."""
        return identity(type(self))[1]


class Instruction(Entry):
    """A technique that changes something.

    A concrete instruction is a ``@final @dataclass(frozen=True, kw_only=True)`` whose fields are its settings and which
    defines one or more methods ``at_<moment>(self, draft, tally) -> None`` (see :class:`Moment`). Its docstring has the
    headings *What it does*, *Why it helps*, *When it does not*, *Settings*, *References*.

    Attributes:
        opening: settings that matter only when the artefact is opened, so that changing them does not prepare it anew.
    """

    opening: ClassVar[frozenset[str]] = frozenset()

    @property
    def fidelity(self) -> Fidelity:
        """What it may change with these settings: at most what the card says of the worst."""
        return self.card.fidelity

    @abstractmethod
    def ties(self) -> Ties:
        """Return what this instruction, with these settings, needs, adds and excludes."""

    def launch(self, host: Host) -> Launch:
        """Return what must be settled before the process starts. Pure."""
        return Launch()

    def space(self, facts: Facts, host: Host) -> Space:
        """Return field → values worth trying. Default: the ``Annotated`` choices of the fields."""
        return annotated_space(type(self))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Say in words why this model or host gains nothing from it, or return ``None``. Cheap and read-only."""
        return None

    def passes(self, facts: Facts, host: Host) -> float:
        """Return what fitting takes: as long as so many passes of the original through the training split. Default: none."""
        return 0.0

    def moments(self) -> tuple[Moment, ...]:
        """Return the moments at which it acts, in order."""
        return tuple(m for m in Moment if callable(getattr(self, m.method, None)))


class Inspection(Entry):
    """A technique that only looks and returns findings."""

    @abstractmethod
    def inspect(self, draft: Draft, host: Host) -> tuple[Finding, ...]:
        """Look and report; change nothing."""


class Bundle(Protocol):
    """What a deliverable is rendered from."""

    @property
    def folder(self) -> Path:
        """Where the bundle lies."""


class Deliverable(Entry):
    """A technique that writes files from a bundle."""

    @abstractmethod
    def render(self, bundle: Bundle) -> Mapping[str, bytes]:
        """Return relative file name → content."""


def identity(entry: type[Entry]) -> tuple[int, str]:
    """Read number and name from the entry's module: ``…\u200b.i29_static_quantization`` → ``(29, "static_quantization")``.

    Raises:
        TypeError: the class does not live in a file of that form.
    """
    match = re.fullmatch(r"i(\d\d)_(\w+)", entry.__module__.rpartition(".")[2])
    if not match:
        raise TypeError(f"{entry.__qualname__} must live in a file named iNN_name.py; it lives in {entry.__module__}")
    return int(match[1]), match[2]
