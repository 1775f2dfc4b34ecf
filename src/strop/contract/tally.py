"""Counts of what an instruction really changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Tally:
    """A bag of named counts. All zero means ``no effect``, never "applied successfully"."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: Counter[str] = Counter(counts or {})

    def add(self, what: str, count: int = 1) -> None:
        """Count ``count`` more changes of the kind ``what``; zero is recorded too, so that it can be shown."""
        self._counts[what] += count

    def remove(self, what: str, count: int) -> None:
        """Take back changes that another instruction undid.

        Raises:
            ValueError: more is taken back than was counted.
        """
        if count > self._counts[what]:
            raise ValueError(f"{count} × {what!r} taken back, only {self._counts[what]} were counted")
        self._counts[what] -= count

    @property
    def total(self) -> int:
        """Sum over all kinds."""
        return sum(self._counts.values())

    def to_json(self) -> dict[str, int]:
        """Return kind → count, sorted by kind."""
        return dict(sorted(self._counts.items()))

    def __repr__(self) -> str:
        return f"Tally({self.to_json()})"
