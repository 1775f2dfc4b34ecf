"""How late a loop is, on a scripted clock that runs its timers as late as it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from strop.serve.lag import BEAT, BEATS, MOST, PASSES, Lag


class LateLoop:
    """Runs one timer at a time, each so many seconds late."""

    def __init__(self) -> None:
        self.now, self.timer = 100.0, list[tuple[float, Callable[..., None], tuple[Any, ...]]]()

    def call_later(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """Keep a timer."""
        self.timer.append((self.now + delay, act, args))

    def turn(self, late: float) -> None:
        """Run the only timer."""
        ((due, act, args),) = self.timer
        self.timer.clear()
        self.now = due + late
        act(*args)


def watched(busy: Callable[[], bool] = lambda: True) -> tuple[LateLoop, Lag]:
    loop = LateLoop()
    lag = Lag(loop, lambda: loop.now, busy)  # type: ignore[arg-type]  # all that it asks of a loop
    lag.watch()
    return loop, lag


def test_nothing_is_set_aside_before_anything_was_seen() -> None:
    assert watched()[1].reserve(0.1) == 0.0


def test_a_loop_that_is_late_costs_the_way_in_and_the_way_out() -> None:
    loop, lag = watched()
    for _ in range(BEATS):
        loop.turn(2e-3)
    assert lag.reserve(0.1) == pytest.approx(4e-3)


def test_rare_waits_count_and_single_ones_do_not() -> None:
    loop, lag = watched()
    for number in range(BEATS):
        loop.turn(3e-3 if number % 50 == 0 else 1e-3)
    assert lag.reserve(1.0) == pytest.approx(PASSES * 3e-3)
    loop, lag = watched()
    for number in range(BEATS):
        loop.turn(0.5 if number == 7 else 1e-3)
    assert lag.reserve(1.0) == pytest.approx(PASSES * 1e-3)


def test_what_was_is_forgotten() -> None:
    loop, lag = watched()
    for late in (5e-3, 1e-3):
        for _ in range(BEATS):
            loop.turn(late)
    assert lag.reserve(1.0) == pytest.approx(PASSES * 1e-3)


def test_a_loop_that_stood_still_takes_no_more_than_a_share_of_the_objective() -> None:
    loop, lag = watched()
    for _ in range(BEATS):
        loop.turn(3.0)
    assert lag.reserve(0.1) == pytest.approx(MOST * 0.1)


def test_it_looks_only_while_batches_run_and_again_with_the_next() -> None:
    running = [True]
    loop, lag = watched(lambda: running[0])
    loop.turn(0.0)
    lag.watch()  # a second batch meanwhile: still one timer
    assert len(loop.timer) == 1 and loop.timer[0][0] == pytest.approx(loop.now + BEAT)
    running[0] = False
    loop.turn(0.0)
    assert not loop.timer
    lag.watch()
    assert len(loop.timer) == 1


def test_a_request_is_promised_its_answer_so_much_sooner(within: Callable[..., Any]) -> None:
    async def act(app: Any, program: Any) -> list[float]:
        desk, promised = app.desk, []
        offer: Callable[..., Any] = desk.scheduler.offer

        def noted(now: float, request: Any) -> Any:
            promised.append(request.deadline - request.arrived)
            return offer(now, request)

        desk.scheduler.offer = noted
        body = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
        await app.infer(None, body, None)
        for _ in range(BEATS):
            desk._lag.note(4e-3)
        await app.infer(None, body, None)
        return promised

    plain, reserved = within(act, objective=0.5)
    assert plain == pytest.approx(0.5) and reserved == pytest.approx(0.5 - PASSES * 4e-3)
