"""The last minutes, second by second, against what was done in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from strop.serve import lookback as module
from strop.serve.app import App
from strop.serve.lookback import KEPT, RECENT, SMOOTH, Lookback
from tests.serve.conftest import POISON, Doubler
from tests.serve.test_app import INFER, body

Within = Callable[..., Any]


async def ask(app: App, *values: float) -> None:
    await asyncio.gather(*(app.handle("POST", INFER, {}, body(value)) for value in values))


def test_a_point_holds_the_rates_of_its_second(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        look, now = Lookback(app), asyncio.get_running_loop().time()
        await ask(app, 1.0, 2.0, 3.0, POISON)
        look.take(now + 2.0)
        look.take(now + 3.0)
        ok, failed = list(look.series["ok"]), list(look.series["failed"])
        assert ok[0] == pytest.approx(1.5, rel=0.05) and failed[0] == pytest.approx(0.5, rel=0.05)
        assert (ok[1], failed[1]) == (0, 0)
        assert look.rates() == {
            "sent": pytest.approx(4 / 3, rel=0.05), "ok": pytest.approx(1.0, rel=0.05), "in_time": pytest.approx(0.75),
        }  # fmt: skip
        assert {len(values) for values in look.series.values()} == {2}

    within(act)


def test_percentiles_forget_what_is_older_than_ten_seconds(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        look, now = Lookback(app), asyncio.get_running_loop().time()
        assert look.percentiles() == {"p50": None, "p90": None, "p99": None}
        await ask(app, 1.0)
        took = asyncio.get_running_loop().time() - now
        for second in range(1, SMOOTH + 1):
            look.take(now + second)
            found = look.percentiles()
            assert found["p50"] is not None and 0.05 < found["p50"] <= found["p90"] <= found["p99"] < 2 * took
        look.take(now + SMOOTH + 1)
        assert set(look.percentiles().values()) == {None}
        assert look.series["p99"][-1] is None and look.rates()["in_time"] is None

    within(act, seconds=0.06)


def test_time_in_batches_counts_while_they_run_and_only_once(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        loop = asyncio.get_running_loop()
        look, begun = Lookback(app), loop.time()
        asked = asyncio.create_task(ask(app, 1.0))
        await asyncio.sleep(0.15)
        look.take(loop.time())
        await asked
        await asyncio.sleep(0.2)
        look.take(loop.time())
        first, second = look.series["utilization"]
        assert first is not None and second is not None and first > 0.5
        elapsed = loop.time() - begun
        spans = [reading.at for reading in look._readings]
        busy = first * (spans[1] - spans[0]) + second * (spans[2] - spans[1])
        assert busy == pytest.approx(app.desk.counts.execute_seconds.total, rel=0.1) and busy < elapsed

    within(act, seconds=0.3)


def test_it_is_bounded_however_long_it_runs(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        look, now = Lookback(app), asyncio.get_running_loop().time()
        for second in range(KEPT + RECENT):
            look.take(now + second + 1)
        assert {len(values) for values in look.series.values()} == {KEPT}
        assert len(look._readings) == RECENT + 1

    within(act)


def test_batches_are_counted_by_their_rows_up_to_the_largest_allowed(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        look = Lookback(app)
        await ask(app, 1.0)
        await ask(app, *(float(value) for value in range(8)))
        look.take(asyncio.get_running_loop().time() + 1)
        assert [name for name, _ in look.batches()] == ["1", "2", "3-4", "5-8"]
        assert sum(count for _, count in look.batches()) == len(program.batches)
        assert look.batches()[0][1] >= 1

    within(act)


def test_it_takes_points_by_itself(within: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP", 0.01)

    async def act(app: App, program: Doubler) -> None:
        look = Lookback(app)
        task = asyncio.create_task(look.run())
        while len(look.series.get("ok", ())) < 3:
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()

    within(act)
