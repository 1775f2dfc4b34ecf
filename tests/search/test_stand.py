"""Servers as arms: real processes and sockets around a program whose calls take a planted time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import strop
from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.instructions.deployment.i43_dynamic_batching import DynamicBatching
from strop.measure.judge import judge_confirm
from strop.measure.plan import ConfirmPlan
from strop.measure.result import Verdict
from strop.observe import silent
from strop.search.bench import Seat
from strop.search.stand import Account, Stand
from strop.trial.serving import Served, ServingShop, read_traffic

PLANTED = Path(__file__).resolve().parents[1] / "planted_server.py"
PLAIN, BATCHED = Served(Recipe()), Served(Recipe([DynamicBatching()]))
Open = Callable[..., Stand]


@pytest.fixture
def stand(double_bundle: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens stands over a server whose calls take 30 ms and half a millisecond per row, and which dies after ``life`` calls."""
    opened: list[Stand] = []

    def open_stand(life: int = 0, rate: float = 120.0) -> Stand:
        row = np.ones((1, 4), dtype=np.float32)
        workload = strop.ServingWorkload(bundle=double_bundle, objective="200ms", rate=rate, seconds=0.3, inputs=[row])
        server = (sys.executable, str(PLANTED), "0.03", "0.0005", str(life))
        shop = ServingShop(workload=workload, folder=tmp_path, server=server)
        opened.append(Stand(shop, read_traffic(workload, 0).windows, 0, tmp_path, silent))
        return opened[-1].__enter__()

    yield open_stand
    for each in opened:
        each.__exit__(None, None, None)


def test_batches_answer_more_in_time_than_single_calls_and_all_counts_agree(stand: Open) -> None:
    bench, told = stand(), list[tuple[int, str, str]]()
    accounts: Counter[str] = Counter()

    def look(number: int, baseline: Seat, candidate: Seat) -> None:
        assert baseline.arm.parked and candidate.arm.parked
        told.append((number, bench.check(baseline), bench.check(candidate)))
        for arm, seat in (("baseline", baseline), ("candidate", candidate)):
            accounts[arm] += bench.account(seat).good
        assert bench.account(baseline).windows == bench.account(candidate).windows, "the same schedules"

    plan = ConfirmPlan(rounds=2, pairs=2, metric="goodput")
    pairs = bench.confirm("a claim", PLAIN, BATCHED, plan, look)
    assert told == [(0, "", ""), (1, "", "")], "the servers' own counts are those of the generator"
    for arm in ("baseline", "candidate"):
        assert accounts[arm] == sum(len(b.calls_ns) for p in pairs for b in p.blocks if b.arm == arm)
        assert all(0 < ns <= 0.2e9 for p in pairs for b in p.blocks if b.arm == arm for ns in b.calls_ns)
    comparison = judge_confirm(pairs, plan, bench.points)["all"]
    assert comparison.speedup.estimate > 1.5 and comparison.verdict in (Verdict.FASTER, Verdict.UNDECIDED)
    assert all(pair.voided is None for pair in pairs), "the load is work of another process and voids nothing"


def test_a_server_that_dies_under_load_is_an_error_and_never_a_slow_one(stand: Open) -> None:
    with pytest.raises(MeasureError, match="the server left with exit code -9"):
        stand(life=20).seat(PLAIN, "candidate")


def test_accounts_that_differ_are_told_by_their_names() -> None:
    account = Account({"url": "http://x", "model": "a b"}, sent=10, ended=Counter({"ok": 8, "refused": 2}))
    assert account.path == "/v2/models/a%20b/infer"
    assert account.disagreement({"sent": 10, "ok": 8, "refused": 2, "expired": 0}) == ""
    assert account.disagreement({"sent": 10, "ok": 9, "refused": 1}) == "ok: 9 against 8, refused: 1 against 2"
    account.ended.update({"timeout": 1})
    assert account.disagreement({"sent": 10, "ok": 9}) == "", (
        "an answer that came too late for its client is known to one side only"
    )
    assert account.disagreement({"sent": 9}) == "sent: 9 against 10"
