"""What became of every request: one entry each, and an account that must balance."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strop.errors import LedgerError, MeasureError
from strop.load.arrivals import FloatArray
from strop.units import Seconds


class Outcome(IntEnum):
    """How a request ended. The last two are no endings: nothing may be left in flight."""

    OK = 0
    """Status 200, the whole body read."""
    REFUSED = 1
    """Status 429 or 503: the server took no more."""
    EXPIRED = 2
    """Status 504 or 408: the server gave up, because it would have been too late."""
    FAILED = 3
    """Any other status, or a connection that broke."""
    CANCELLED = 4
    """Given up when the load was interrupted."""
    TIMEOUT = 5
    """Given up by the client after its own limit."""
    UNSENT = 6
    """The load was interrupted before its turn came."""
    IN_FLIGHT = 7
    """Sent, and nothing is known yet."""

    @property
    def word(self) -> str:
        """The name in reports: ``"ok"``, ``"in flight"``."""
        return self.name.lower().replace("_", " ")


ENDINGS = tuple(Outcome)[:6]
"""What a request that was sent can end as."""


def outcome_of(status: int) -> Outcome:
    """Return what an HTTP status says about a request."""
    if status == 200:
        return Outcome.OK
    if status in (429, 503):
        return Outcome.REFUSED
    return Outcome.EXPIRED if status in (504, 408) else Outcome.FAILED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Every request of one schedule, in order. Times are seconds from the start of the schedule; NaN: did not happen.

    Attributes:
        scheduled: when it should be sent; latency counts from here.
        sent: when it was.
        finished: when its answer had been read, or it was given up.
        outcome: an :class:`Outcome` each.
        status: HTTP status, 0 without one.
        reasons: why requests failed without a status, and how often.
    """

    scheduled: FloatArray
    sent: FloatArray
    finished: FloatArray
    outcome: NDArray[np.uint8]
    status: NDArray[np.int16]
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def latency(self) -> FloatArray:
        """Seconds from the scheduled time to the end, so that a request which had to wait its turn is not favoured."""
        return self.finished - self.scheduled

    @property
    def lag(self) -> FloatArray:
        """Seconds by which the generator itself was late."""
        return self.sent - self.scheduled

    def counted(self, warmup: Seconds) -> NDArray[np.bool_]:
        """Return which requests were sent and were due after the warm-up."""
        return (self.scheduled >= warmup) & np.isfinite(self.sent)

    def account(self) -> dict[str, int]:
        """Return ``scheduled``, ``sent`` and the number of each ending.

        Raises:
            MeasureError: ``sent`` is not the sum of the endings: the generator lost sight of a request.
        """
        counts = np.bincount(self.outcome, minlength=len(Outcome))
        account = {"scheduled": len(self.outcome), "sent": int(np.isfinite(self.sent).sum())}
        account |= {outcome.word: int(counts[outcome]) for outcome in ENDINGS}
        ended = sum(account[outcome.word] for outcome in ENDINGS)
        if ended != account["sent"]:
            raise MeasureError(f"{account['sent']} requests were sent, but the ends of {ended} are known: {account}")
        return account

    def codes(self) -> dict[str, int]:
        """Return status or reason → how often, most frequent first."""
        codes, counts = np.unique(self.status, return_counts=True)
        found = Counter({str(code): int(count) for code, count in zip(codes, counts, strict=True) if code})
        return dict((found + Counter(self.reasons)).most_common())

    def save(self, path: Path) -> None:
        """Write the arrays as one compressed ``.npz`` file (plain arrays, no pickle)."""
        reasons = np.array([f"{count} {reason}" for reason, count in self.reasons.items()], dtype=np.str_)
        np.savez_compressed(
            path, scheduled=self.scheduled, sent=self.sent, finished=self.finished, outcome=self.outcome, status=self.status,
            reasons=reasons,
        )  # fmt: skip

    @classmethod
    def open(cls, path: Path) -> Samples:
        """Read what :meth:`save` wrote.

        Raises:
            LedgerError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                rows = (str(row).split(" ", 1) for row in arrays["reasons"])
                reasons = {reason: int(count) for count, reason in rows}
                names = ("scheduled", "sent", "finished", "outcome", "status")
                return cls(**{name: arrays[name] for name in names}, reasons=reasons)
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
            raise LedgerError(f"{path} does not hold the samples of a load: {error}") from error


class Recorder:
    """Fills samples while requests are under way; a request that would be counted twice is a defect and raises.

    Args:
        scheduled: the schedule.
    """

    def __init__(self, scheduled: FloatArray) -> None:
        count = len(scheduled)
        self._scheduled = scheduled
        self._sent, self._finished = np.full(count, np.nan), np.full(count, np.nan)
        self._outcome = np.full(count, Outcome.UNSENT, dtype=np.uint8)
        self._status = np.zeros(count, dtype=np.int16)
        self._reasons: Counter[str] = Counter()
        self.counts: Counter[Outcome] = Counter()

    def send(self, place: int, now: Seconds) -> None:
        """Note that a request left."""
        self._move(place, Outcome.UNSENT, Outcome.IN_FLIGHT)
        self._sent[place] = now

    def end(self, place: int, now: Seconds, outcome: Outcome, status: int = 0, reason: str = "") -> None:
        """Note how a request ended; ``reason`` says why where there is no status."""
        self._move(place, Outcome.IN_FLIGHT, outcome)
        self._finished[place], self._status[place] = now, status
        if reason:
            self._reasons[reason] += 1

    def samples(self) -> Samples:
        """Return what was recorded so far."""
        return Samples(
            scheduled=self._scheduled,
            sent=self._sent,
            finished=self._finished,
            outcome=self._outcome,
            status=self._status,
            reasons=dict(self._reasons),
        )

    def _move(self, place: int, before: Outcome, after: Outcome) -> None:
        found = Outcome(self._outcome[place])
        if found is not before:
            raise MeasureError(f"request {place} is {found.word}, so it cannot become {after.word}")
        self._outcome[place] = after
        self.counts[before] -= 1
        self.counts[after] += 1
