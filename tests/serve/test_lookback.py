"""The last minutes, second by second, against what was done in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from strop.serve import lookback as module
from strop.serve.app import App
from strop.serve.lookback import KEPT, RECENT, SMOOTH, Lookback
from tests.serve.conftest import POISON, STUCK, Doubler
from tests.serve.test_app import INFER, body

Within = Callable[..., Any]


async def ask(app: App, *values: float) -> None:
    await asyncio.gather(*(app.handle("POST", INFER, {}, body(value)) for value in values))


async def running(app: App, program: Doubler) -> asyncio.Task[None]:
    """Ask for what runs until it is released, and return when it runs."""
    asked = asyncio.create_task(ask(app, STUCK))
    while not program.batches:
        await asyncio.sleep(0.001)
    return asked


def test_a_point_holds_the_rates_of_its_second(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        app.desk.now = lambda: 100.0
        look = Lookback(app)
        await ask(app, 1.0, 2.0, 3.0, POISON)
        look.take(102.0)
        look.take(103.0)
        assert (list(look.series["ok"]), list(look.series["failed"])) == ([1.5, 0.0], [0.5, 0.0])
        assert look.rates() == {"sent": pytest.approx(4 / 3), "ok": pytest.approx(1.0), "in_time": pytest.approx(0.75)}
        assert {len(values) for values in look.series.values()} == {2}

    within(act)


def test_percentiles_forget_what_is_older_than_ten_seconds(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        now = [100.0]
        app.desk.now = lambda: now[0]
        look = Lookback(app)
        assert look.percentiles() == {"p50": None, "p90": None, "p99": None}
        asked = await running(app, program)
        now[0] += 0.06
        program.release.set()
        await asked
        for second in range(1, SMOOTH + 1):
            look.take(100.0 + second)
            found = look.percentiles()
            assert found["p50"] is not None and 0.05 < found["p50"] <= found["p90"] <= found["p99"] <= 0.075
        look.take(100.0 + SMOOTH + 1)
        assert set(look.percentiles().values()) == {None}
        assert look.series["p99"][-1] is None and look.rates()["in_time"] is None

    within(act)


def test_time_in_batches_counts_while_they_run_and_only_once(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        desk, now = app.desk, [100.0]
        desk.now = lambda: now[0]
        look = Lookback(app)
        asked = await running(app, program)
        for elapsed, busy in ((4.0, 1.0), (4.0, 0.5), (4.0, 0.0)):
            now[0] += elapsed * busy
            if busy < 1.0 and not asked.done():
                program.release.set()
                await asked
            now[0] += elapsed * (1 - busy)
            look.take(now[0])
        assert list(look.series["utilization"]) == [1.0, 0.5, 0.0]
        assert desk.counts.execute_seconds.total == 6.0

    within(act, objective=600.0, expected=1.0)


def test_it_is_bounded_however_long_it_runs(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        look, now = Lookback(app), app.desk.now()
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
        look.take(app.desk.now() + 1)
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
