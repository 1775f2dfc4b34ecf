"""A bench whose arms are servers: a visit is a window of requests, and what is compared is how many were answered in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from strop.load.samples import Outcome, Samples
from strop.load.window import Windows
from strop.measure.arm import Arm
from strop.measure.collect import BlockPlan, PointProfile, take_pair
from strop.measure.result import Block, Pair
from strop.measure.timing import WarmRule
from strop.observe import Observer
from strop.search.bench import Bench, Runnable, Seat, Shop
from strop.trial.server import POINT
from strop.units import Seconds

WARMING = 0
"""Number of the window that a fresh server is warmed by."""
WITNESSED = (Outcome.OK, Outcome.REFUSED, Outcome.EXPIRED)
"""What both sides see alike, where every answer reached its client."""


@dataclass(slots=True)
class Account:
    """What the generator saw of one server, over all windows.

    Attributes:
        ready: what the server said of itself when it began to listen.
        sent: requests, rehearsal, warming and lead of the windows included.
        ended: how they ended.
        windows: requests of each window that counted.
        good: those of them that were answered within the objective.
    """

    ready: Mapping[str, Any]
    sent: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    windows: list[int] = field(default_factory=list)
    good: int = 0

    @property
    def base(self) -> str:
        """The server's address."""
        return str(self.ready["url"])

    @property
    def path(self) -> str:
        """Where it takes requests."""
        return f"/v2/models/{quote(self.ready['model'], safe='')}/infer"

    def add(self, samples: Samples) -> None:
        """Add a window."""
        account = samples.account()
        self.sent += account["sent"]
        self.ended.update({o.word: account[o.word] for o in Outcome if account.get(o.word)})

    def disagreement(self, said: Mapping[str, int]) -> str:
        """Say how the server's own count differs from this one; empty where it does not."""
        names = ["sent"]
        if not set(self.ended) - {outcome.word for outcome in WITNESSED}:
            names += [outcome.word for outcome in WITNESSED]
        seen = {"sent": self.sent, **self.ended}
        wrong = [
            f"{name}: {said.get(name, 0)} against {seen.get(name, 0)}" for name in names if said.get(name, 0) != seen.get(name, 0)
        ]
        return ", ".join(wrong)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {"sent": self.sent, "counted": sum(self.windows), "good": self.good, **self.ended}


class Stand(Bench):
    """Starts servers, screens and confirms.

    Of two servers one is stopped while the other has its window, as arms of any bench are: both live through the same
    minutes, and neither can take time from the other.

    Args:
        shop: describes the servers.
        windows: the load.
        seed: of coins, windows and process environments.
        logs: folder for the output of the processes.
        observer: told when measuring starts and ends.
    """

    def __init__(self, shop: Shop, windows: Windows, seed: int, logs: Path, observer: Observer) -> None:
        super().__init__(shop, (POINT,), seed, logs, observer, WarmRule())
        self.windows = windows
        self._accounts: dict[int, Account] = {}

    def account(self, seat: Seat) -> Account:
        """Return what was seen of a server."""
        return self._accounts[seat.arm.pid]

    def check(self, seat: Seat) -> str:
        """Say how the server's own account differs from the generator's; empty where it does not.

        Raises:
            MeasureError: the server has died.
        """
        return self.account(seat).disagreement(self.call(seat, "account", {}, 30.0))

    def _warm_up(self, prepared: Runnable, arm: Arm, marks: Mapping[str, Seconds], loaded: Seconds) -> Seat:
        begun = time.monotonic()
        with self._clock(), arm.turn():
            account = self._accounts[arm.pid] = Account(arm.call("ready"))
            self.windows.rehearse(account.base, account.path)
            account.sent, account.ended = 1, Counter({Outcome.OK.word: 1})
            account.add(self.windows.drive(account.base, account.path, WARMING))
            arm.call("ready")  # or it died of it
        arm.park()
        profile = {POINT: PointProfile(call_seconds=self.windows.length, discards=0)}
        return Seat(prepared, arm, profile, marks, loaded + time.monotonic() - begun)

    def _pair(self, name: str, baseline: Seat, candidate: Seat, blocks: BlockPlan, *, index: int, round: int) -> Pair:
        visits = [_Visited(self.windows, seat.arm, self.account(seat)) for seat in (baseline, candidate)]
        return take_pair(visits[0], visits[1], blocks, seed=self._seed, comparison=name, index=index, round=round)


class _Visited:
    """An arm as pairs are taken of it: a call of an input is a window of that number.

    The system's counters stay empty, because the load itself is work of another process, and nothing is voided by them.
    """

    points: Mapping[str, int]

    def __init__(self, windows: Windows, arm: Arm, account: Account) -> None:
        self.points = arm.points
        self._windows, self._arm, self._account = windows, arm, account

    def park(self) -> None:
        self._arm.park()

    def block(self, point: str, inputs: Sequence[int], discards: int = 0) -> Block:
        good: list[int] = []
        with self._arm.turn():
            for number in inputs:
                samples = self._windows.drive(self._account.base, self._account.path, number)
                self._arm.call("ready")  # a server that died is no server that was slow
                answered = self._windows.good(samples)
                self._account.add(samples)
                self._account.windows.append(self._windows.counted(samples))
                self._account.good += len(answered)
                good += answered
        return Block(arm=self._arm.name, point=point, calls_ns=tuple(good))
