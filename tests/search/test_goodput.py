"""The search among ways of serving in a world whose truth is known: no server and no clock, but the real judging."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import strop
from strop.contract.card import Aim
from strop.contract.recipe import Recipe
from strop.errors import MeasureError, TargetError, UsageError
from strop.ledger.ledger import Ledger
from strop.ledger.verify import verify_ledger
from strop.load.arrivals import poisson
from strop.load.window import Windows
from strop.measure.collect import PointProfile
from strop.measure.host import Host
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Block, Pair
from strop.search.budget import Budget
from strop.search.goodput import Found, improve
from strop.search.request import Request
from strop.search.staging import Staging
from strop.search.stand import Account
from strop.serve.request import Bucket
from strop.trial.server import POINT
from strop.trial.serving import Served, Traffic

HOST = Host(cpu="test", cores=2)
SENT = 200
MARKS = dict.fromkeys(("interpreter_up", "imported", "loaded", "first_output"), 1.0)


@dataclass
class World:
    """Planted truth.

    Attributes:
        goodput: recipe → share of requests answered in time.
        single: seconds of a call of one row, which is all that a batch of 64 takes too.
        fault: recipe → what its server raises when it is started.
        miscounts: arms whose servers count otherwise than the generator.
        rate: requests per second.
    """

    goodput: Callable[[Recipe], float]
    single: float = 20e-3
    fault: Callable[[Recipe], Exception | None] = lambda recipe: None
    miscounts: frozenset[str] = frozenset()
    rate: float = 150.0
    limit: float = 600.0
    dies_in_round: int = -1
    now: float = 0.0
    started: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    points: tuple[str, ...] = (POINT,)
    measuring: float = 0.0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def staging(self, ledger: Ledger) -> Staging:
        """A run in this world."""
        workload = strop.ServingWorkload(bundle="b", objective="100ms", rate=self.rate, seconds=1.0)
        windows = Windows(requests=(), draw=poisson, rate=self.rate, seconds=1.0, objective=0.1)
        rows = [{"width": 4, "rows": n, "seconds": self.single} for n in (1, 64)]
        ledger.step("curve", lambda: {"seeds": rows, "starting": 1.0})
        bench: Any = self
        shop: Any = SimpleNamespace()
        return Staging(
            request=Request(aim=Aim.GOODPUT, budget=self.limit), ledger=ledger, bench=bench, stand=bench, host=HOST, shop=shop,
            observer=lambda event: self.told.append(event.name), budget=Budget(self.limit, lambda: self.now),
            baseline=Served(Recipe()), workload=workload, logs=Path(),
            traffic=Traffic(windows=windows, buckets=[(Bucket("x", 4), 1)], batchable=True),
        )  # fmt: skip

    def seat(self, prepared: Served, name: str) -> Any:
        """Start a server."""
        self.started.append(f"{name}: {prepared.recipe}")
        self.now += 3
        if fault := self.fault(prepared.recipe):
            raise fault
        account = Account({"url": "http://x", "model": "b"}, sent=1)
        return SimpleNamespace(
            prepared=prepared, name=name, account=account, seconds=3.0, uses=0, marks=MARKS, arm=SimpleNamespace(ended=False),
            profile={POINT: PointProfile(call_seconds=1.35, discards=0)},
        )  # fmt: skip

    def seats(self, wanted: Any) -> list[Any]:
        """Start several."""
        return [self.seat(*one) for one in wanted]

    def dismiss(self, seat: Any) -> None:
        """End one."""

    @contextlib.contextmanager
    def seated(self, prepared: Served, name: str) -> Iterator[Any]:
        """A server for a while."""
        yield self.seat(prepared, name)

    def account(self, seat: Any) -> Account:
        """What was seen of it."""
        return seat.account  # type: ignore[no-any-return]

    def check(self, seat: Any) -> str:
        """What it counted otherwise."""
        return "ok: 1 against 2" if seat.name in self.miscounts else ""

    def call(self, seat: Any, method: str, arguments: Any, timeout: float) -> int:
        """Its peak."""
        return 1 << 20

    def screen(self, name: str, baseline: Any, candidate: Any, plan: ScreenPlan, enough: Callable[[], bool]) -> list[Pair]:
        """Take pairs; the cap is enough."""
        return [self._pair(number, 0, baseline, candidate) for number in range(min(plan.max_pairs, 12))]

    def confirm(
        self, name: str, baseline: Served, candidate: Served, plan: ConfirmPlan, told: Any = None, fits: Any = None
    ) -> list[Pair]:
        """Take the planned pairs."""
        pairs: list[Pair] = []
        for number in range(plan.rounds):
            if fits is not None and not fits(0.0):
                break
            if number == self.dies_in_round:
                raise MeasureError("the server left with exit code -9.")
            arms = self.seat(baseline, "baseline"), self.seat(candidate, "candidate")
            pairs += [self._pair(number * plan.pairs + n, number, *arms) for n in range(plan.pairs)]
            if told is not None:
                told(number, *arms)
        return pairs

    def _pair(self, index: int, round: int, *arms: Any) -> Pair:
        blocks = []
        for role, seat in zip(("baseline", "candidate"), arms, strict=True):
            good = int(self.random.binomial(SENT, self.goodput(seat.prepared.recipe)))
            seat.account.windows.append(SENT)
            seat.account.good += good
            blocks.append(Block(arm=role, point=POINT, calls_ns=(50_000_000,) * good))
        self.now += 2.7
        return Pair(index=index, round=round, candidate_first=False, blocks=tuple(blocks))


@dataclass
class Ran:
    """What came of a search."""

    found: Found
    world: World
    folder: Path

    @property
    def statuses(self) -> list[tuple[str, str]]:
        """Recipe and status of each trial."""
        return [(str(t.row["text"]), t.status) for t in self.found.trials]


@pytest.fixture
def searched(tmp_path: Path) -> Callable[[World], Ran]:
    """Searches a world."""

    def run(world: World) -> Ran:
        with Ledger.create(tmp_path / "run", {"command": "optimize"}) as ledger:
            return Ran(improve(world.staging(ledger)), world, tmp_path / "run")

    return run


def batching(off: float, on: float) -> Callable[[Recipe], float]:
    return lambda recipe: on if len(recipe) else off


def test_what_answers_more_in_time_is_confirmed_and_every_verdict_can_be_recomputed(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(0.3, 0.95)))
    assert str(ran.found.result) == "43 dynamic_batching"
    assert ran.statuses == [("43 dynamic_batching", "faster")]
    assert ran.found.claim is not None and ran.found.claim.comparison is not None
    speedup = ran.found.claim.comparison.speedup
    assert speedup.low < 0.95 / 0.3 < speedup.high
    shares = ran.found.claim.timing["shares"]["result"]
    assert shares["baseline"] == pytest.approx(0.3, abs=0.03) and shares["candidate"] == pytest.approx(0.95, abs=0.03)
    assert len(ran.found.untried) == 8, "settings that virtual time finds no better are not measured"
    wrong = [check for check in verify_ledger(ran.folder) if check.problem and check.file != "digests.json"]
    assert not wrong and len(verify_ledger(ran.folder)) > 6


def test_a_server_that_never_answers_in_time_is_beaten_by_one_that_does(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(0.0, 0.9)))
    assert ran.found.result is not None and ran.found.claim is not None and ran.found.claim.comparison is not None
    assert ran.found.claim.comparison.speedup.low > 100


def test_a_planted_no_op_never_wins(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(0.6, 0.6)))
    assert ran.found.result is None and ran.statuses[0][1] in ("no worthwhile gain", "undecided")


def test_what_is_worse_is_told_so(searched: Callable[[World], Ran]) -> None:
    assert searched(World(batching(0.9, 0.3))).statuses == [("43 dynamic_batching", "slower")]


def test_requests_that_hardly_meet_start_no_server(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(1.0, 1.0), single=1e-4, rate=20.0))
    assert ran.statuses == [("43 dynamic_batching", "declined")] and not ran.world.started
    assert "arrive while another is being answered" in ran.found.trials[0].row["reason"]


def test_a_server_that_fails_or_miscounts_is_a_status(searched: Callable[[World], Ran]) -> None:
    died = TargetError("arm 'candidate', load", "StropError", "the server did not start: no", "")
    ran = searched(World(batching(0.3, 0.9), fault=lambda recipe: died if len(recipe) else None))
    assert ran.found.result is None
    assert [(t.status, t.row["reason"]) for t in ran.found.trials] == [
        ("failed to run", "StropError: the server did not start: no")
    ]


def test_accounts_that_differ_are_invalid(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(0.3, 0.9), miscounts=frozenset({"candidate"})))
    assert ran.statuses == [("43 dynamic_batching", "invalid")] and ran.found.result is None


def test_a_claim_falls_with_a_server_that_dies_or_miscounts_while_it_is_confirmed(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(0.3, 0.9), dies_in_round=1))
    assert ran.found.result is None and ran.found.claim is not None
    assert ran.found.claim.problem == "the server left with exit code -9."


def test_a_baseline_that_cannot_be_served_is_the_user_s_to_know(searched: Callable[[World], Ran]) -> None:
    short = TargetError("arm 'baseline', load", "StropError", "the server did not start: one call takes 250 ms", "")
    with pytest.raises(UsageError, match="one call takes 250 ms"):
        searched(World(batching(0.3, 0.9), fault=lambda recipe: None if len(recipe) else short))


def test_a_budget_too_small_is_told_with_the_one_that_would_do(searched: Callable[[World], Ran]) -> None:
    ran = searched(World(batching(0.3, 0.9), limit=40.0))
    assert ran.found.result is None and not ran.world.started
    (finding,) = ran.found.findings
    assert finding.code == "budget-too-small"
    assert re.fullmatch(r"give a budget of \dm or more, or shorter windows", finding.advice)


def test_a_budget_that_ends_in_the_confirmation_claims_nothing(searched: Callable[[World], Ran]) -> None:
    world = World(batching(0.3, 0.9), limit=150.0)
    ran = searched(world)
    assert ran.found.claim is None or ran.found.claim.holds or "time ran out" in ran.found.claim.problem
