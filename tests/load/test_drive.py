from __future__ import annotations

import asyncio
import gc
import time

import numpy as np
import pytest

from strop.load.drive import TOGETHER, OpenLoop, Send
from strop.load.samples import Outcome, Samples


def run(schedule: list[float], send: Send, **settings: object) -> Samples:
    return asyncio.run(OpenLoop(np.array(schedule), send, **settings).run())  # type: ignore[arg-type]


async def ok(number: int) -> int:
    return 200


def test_a_stalled_server_does_not_delay_the_requests_behind_it() -> None:
    """The first answer takes as long as the whole load; a closed loop would send one request in that time."""

    async def stall(number: int) -> int:
        await asyncio.sleep(0.3 if number == 0 else 0)
        return 200

    samples = run([n / 100 for n in range(20)], stall)
    assert samples.account()["ok"] == 20
    assert (samples.sent[1:] < samples.finished[0]).all()


def test_waiting_for_a_turn_counts_as_latency() -> None:
    """One at a time, 20 ms each, all due at once: the last one waited for all the others."""
    turn = asyncio.Lock()

    async def one_by_one(number: int) -> int:
        async with turn:
            await asyncio.sleep(0.02)
        return 200

    samples = run([0.0] * 5, one_by_one)
    assert (samples.latency >= 0.02 * np.arange(1, 6)).all()


def test_collecting_garbage_is_over_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: time.sleep(0.3))
    assert run([0.0], ok, timeout=0.2).account()["ok"] == 1


def test_nothing_is_sent_before_its_time() -> None:
    samples = run([0.0, 0.05, 0.1], ok)
    assert (samples.lag >= 0).all()


def test_a_late_generator_still_reads_answers_between_requests() -> None:
    """All due at once: without a look at the answers the first would end after the last was sent."""
    samples = run([0.0] * (TOGETHER * 4), lambda number: asyncio.sleep(0, 200))
    assert samples.account()["ok"] == TOGETHER * 4
    assert samples.finished.min() < samples.sent.max()


@pytest.mark.parametrize(
    ("send", "outcome"),
    [
        (ok, Outcome.OK),
        (lambda number: asyncio.sleep(0, 429), Outcome.REFUSED),
        (lambda number: asyncio.sleep(0, 504), Outcome.EXPIRED),
        (lambda number: asyncio.sleep(0, 500), Outcome.FAILED),
        (lambda number: asyncio.sleep(60, 200), Outcome.TIMEOUT),
    ],
)
def test_every_ending_is_told_apart(send: Send, outcome: Outcome) -> None:
    samples = run([0.0, 0.01], send, timeout=0.1 if outcome is Outcome.TIMEOUT else 10.0)
    assert samples.outcome.tolist() == [outcome, outcome]
    assert samples.account()["sent"] == 2


def test_a_broken_connection_is_a_failure_with_its_reason() -> None:
    async def reset(number: int) -> int:
        raise ConnectionResetError("planted")

    samples = run([0.0, 0.01], reset)
    assert samples.account()["failed"] == 2
    assert samples.reasons == {"ConnectionResetError": 2}


def test_a_defect_is_raised_and_not_counted_as_a_failure_of_the_server() -> None:
    async def defect(number: int) -> int:
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError, match="planted"):
        run([0.0], defect)


def test_cancelling_gives_up_what_is_in_flight_and_returns_the_rest() -> None:
    async def main() -> Samples:
        third = asyncio.Event()

        async def send(number: int) -> int:
            if number == 2:
                third.set()
            await asyncio.sleep(0 if number < 2 else 99)
            return 200

        task = asyncio.create_task(OpenLoop(np.array([0.0, 0.01, 0.5, 99.0]), send).run())
        await third.wait()
        task.cancel()
        return await task

    samples = asyncio.run(main())
    assert [Outcome(o).word for o in samples.outcome] == ["ok", "ok", "cancelled", "unsent"]
    assert samples.account()["sent"] == 3


def test_the_watcher_is_told_and_garbage_is_collected_again_afterwards() -> None:
    seen: list[tuple[float, int]] = []
    run([0.0, 1.1], ok, watch=lambda elapsed, counts: seen.append((elapsed, counts[Outcome.OK])))
    assert seen and seen[-1][0] >= 1 and seen[-1][1] >= 1
    assert gc.get_freeze_count() == 0
