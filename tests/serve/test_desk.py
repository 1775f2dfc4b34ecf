"""Faults while serving, with a program that misbehaves on demand: neighbours get their own answers, and all is accounted for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from strop.serve.app import App
from strop.serve.call import InferenceCall
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel, Seed
from strop.serve.policy import Policy
from strop.serve.problem import Problem
from strop.serve.request import Outcome
from strop.serve.scheduler import Scheduler
from strop.serve.server import new_loop
from strop.serve.stack import Stacker
from strop.serve.workers import out_of_memory
from tests.serve.conftest import HUNGRY, POISON, SHORT, STUCK, Doubler, plain_signature

Within = Callable[..., Any]


def call(value: float, rows: int = 1, **options: Any) -> InferenceCall:
    return InferenceCall(arrays=[np.full((rows, 4), value, np.float32)], outputs=[(0, False)], **options)


async def ask(app: App, value: float, **options: Any) -> float | Problem:
    """Return the first value of the answer, or the problem."""
    gone = options.pop("gone", None)
    try:
        (answer,) = await app.desk.answer(call(value, **options), 16, gone)
    except Problem as problem:
        return problem
    assert answer.shape == (options.get("rows", 1), 4)
    assert (answer == answer[0, 0]).all()
    return float(answer[0, 0])


def statuses(answers: list[float | Problem]) -> list[int]:
    return [answer.status if isinstance(answer, Problem) else 200 for answer in answers]


def test_calls_that_come_together_share_a_batch_and_get_their_own_answers(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        assert await asyncio.gather(*(ask(app, value) for value in range(8))) == [2.0 * value for value in range(8)]
        assert program.batches == [8]

    within(act)


def test_calls_that_come_while_a_batch_runs_share_the_next_one(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        first = asyncio.create_task(ask(app, 1.0))
        await asyncio.sleep(0.02)
        rest = [asyncio.create_task(ask(app, value)) for value in (2.0, 3.0, 4.0)]
        assert await asyncio.gather(first, *rest) == [2.0, 4.0, 6.0, 8.0]
        assert program.batches == [1, 3]

    within(act, seconds=0.1, expected=0.1)


def test_quick_batches_run_where_they_are_and_slow_ones_in_a_thread(within: Within) -> None:
    async def act(app: App, program: Doubler) -> bool:
        seen = []
        inner = app.desk.stacker.split
        app.desk.stacker.split = lambda *a: (seen.append(threading.current_thread()), inner(*a))[1]  # type: ignore[method-assign]
        await ask(app, 1.0)
        return seen == [threading.main_thread()]

    assert within(act, expected=1e-4)
    assert not within(act, expected=1e-2)


def test_time_has_a_finer_grain_than_the_server_s_loop() -> None:
    async def act() -> None:
        latency = LatencyModel([Seed(width=4, rows=1, seconds=1e-3)], 8)
        desk = Desk(Doubler(), Stacker(plain_signature(None, 4)), Scheduler(Policy(objective=1.0, max_rows=8), latency))
        times = []
        for _ in range(20):
            times.append(desk.now())
            time.sleep(1e-4)
        assert len(set(times)) == len(times), "uvloop's own clock stands still for a millisecond"
        await desk.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(act())


@pytest.mark.parametrize("expected", [1e-4, 2e-3], ids=["here", "in a thread"])
def test_one_poison_of_eight_fails_alone(within: Within, expected: float) -> None:
    async def act(app: App, program: Doubler) -> None:
        answers = await asyncio.gather(*(ask(app, POISON if value == 5 else value) for value in range(8)))
        poisoned = answers.pop(5)
        assert isinstance(poisoned, Problem)
        assert (poisoned.status, poisoned.message) == (500, "the model failed on it.")
        assert answers == [2.0 * value for value in range(8) if value != 5]
        assert app.desk.counts.failures["engine"] == 1

    within(act, expected=expected)


def test_answers_with_missing_rows_are_never_shifted_onto_neighbours(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        answers = await asyncio.gather(*(ask(app, SHORT if value == 2 else value) for value in range(4)))
        assert statuses(answers) == [200, 200, 500, 200]
        assert [a for a in answers if not isinstance(a, Problem)] == [0.0, 2.0, 6.0]

    within(act)


def test_memory_that_runs_out_makes_batches_smaller_and_everybody_is_served(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        assert await asyncio.gather(*(ask(app, HUNGRY) for _ in range(8))) == [2 * HUNGRY] * 8
        assert app.desk.scheduler.limit.rows == 2
        alone = await ask(app, HUNGRY, rows=3)
        assert isinstance(alone, Problem)
        assert (alone.status, app.desk.counts.failures["memory"]) == (503, 1)

    within(act)


def test_a_client_that_leaves_while_waiting_is_not_computed(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        left = asyncio.Event()
        first = asyncio.create_task(ask(app, 1.0))
        await asyncio.sleep(0.02)
        leaving = [asyncio.create_task(ask(app, value, gone=left.wait)) for value in (2.0, 3.0)]
        staying = asyncio.create_task(ask(app, 4.0))
        await asyncio.sleep(0.1)
        left.set()
        answers = await asyncio.gather(*leaving)
        assert statuses(answers) == [499, 499]
        assert await asyncio.gather(first, staying) == [2.0, 8.0]
        assert program.batches == [1, 1]
        assert app.desk.scheduler.accounts.ended[Outcome.CANCELLED] == 2

    within(act, seconds=0.3, expected=0.2, objective=2.0)


def test_half_of_a_running_batch_leaving_harms_nobody_else(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        tasks = [asyncio.create_task(ask(app, value)) for value in range(8)]
        await asyncio.sleep(0.05)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[1::2] == [2.0 * value for value in range(1, 8, 2)]
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
        assert program.batches == [8]

    within(act, seconds=0.2, expected=0.1)


def test_a_client_s_own_timeout_ends_its_waiting_and_it_is_not_executed(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        first = asyncio.create_task(ask(app, 1.0))
        await asyncio.sleep(0.01)
        late = await ask(app, 2.0, timeout=0.24)
        assert isinstance(late, Problem)
        assert late.status == 504
        assert not first.done(), "told at its deadline, not when the batch ended"
        assert await first == 2.0
        hopeless = await ask(app, 3.0, timeout=1e-6)
        assert isinstance(hopeless, Problem)
        assert hopeless.status == 429, "refused at once"
        assert program.batches == [1]

    within(act, seconds=0.4, expected=0.1, objective=2.0)


def test_what_cannot_be_answered_in_time_is_refused_at_once(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        answers = asyncio.gather(*(ask(app, value) for value in range(200)))
        await asyncio.sleep(0)  # one turn of the loop, in which no batch can end
        assert app.desk.scheduler.accounts.ended[Outcome.REFUSED] > 50
        problems = [a for a in await answers if isinstance(a, Problem)]
        assert {p.status for p in problems} <= {429, 504}
        assert all(("retry-after", "1") in p.headers for p in problems if p.status == 429)
        assert sum(program.batches) + len(problems) == 200, "none of them was executed"

    within(act, seconds=0.05, expected=0.05, objective=0.4)


def test_a_batch_that_hangs_is_given_up_and_told_and_the_rest_goes_on(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        answer = await ask(app, STUCK)
        assert isinstance(answer, Problem)
        assert (answer.status, app.desk.ready) == (503, False)
        refused = await ask(app, 1.0)
        assert isinstance(refused, Problem)
        assert (refused.status, "no worker left" in refused.message) == (503, True)
        program.release.set()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if app.desk.ready:
                break
        assert await ask(app, 3.0) == 6.0
        assert app.desk.ready

    within(act, hang=0.1, expected=5e-3, objective=5.0)


def test_draining_answers_what_was_taken_and_refuses_the_rest(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        taken = [asyncio.create_task(ask(app, value)) for value in range(4)]
        await asyncio.sleep(0.02)
        draining = asyncio.create_task(app.desk.drain(5.0))
        await asyncio.sleep(0)
        assert not app.desk.ready
        late = await ask(app, 9.0)
        assert isinstance(late, Problem)
        assert (late.status, ("connection", "close") in late.headers) == (503, True)
        assert await asyncio.gather(*taken) == [0.0, 2.0, 4.0, 6.0]
        assert await draining

    within(act, seconds=0.2, expected=0.1)


def test_draining_that_takes_too_long_tells_those_who_wait(within: Within) -> None:
    async def act(app: App, program: Doubler) -> None:
        taken = asyncio.create_task(ask(app, STUCK))
        await asyncio.sleep(0.02)
        assert not await app.desk.drain(0.05)
        answer = await taken
        assert isinstance(answer, Problem)
        assert (answer.status, app.desk.counts.failures["shutdown"]) == (503, 1)

    within(act)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("CUDA out of memory. Tried …")])
def test_running_out_of_memory_is_known_by_class_or_by_words(error: BaseException) -> None:
    assert out_of_memory(error)
    assert not out_of_memory(ValueError("the shape is wrong"))
