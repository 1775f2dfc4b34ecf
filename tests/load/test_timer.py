from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from strop.load.timer import Timer
from strop.measure.clock import monotonic_ns


def test_the_sleeper_never_wakes_early_and_others_run_meanwhile() -> None:
    async def main() -> tuple[int, int]:
        others = 0

        async def work() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(work())
        with Timer() as timer:
            goal = monotonic_ns() + 20_000_000
            await timer.until(goal)
            late = monotonic_ns() - goal
        task.cancel()
        return late, others

    late, others = asyncio.run(main())
    assert late >= 0
    assert others > 10


def test_a_time_that_has_passed_is_no_sleep_and_the_timer_can_be_used_again() -> None:
    async def main() -> int:
        with Timer() as timer:
            await timer.until(0)
            await timer.until(monotonic_ns() - 1)
            goal = monotonic_ns() + 2_000_000
            await timer.until(goal)
            return monotonic_ns() - goal

    assert asyncio.run(main()) >= 0


def test_the_descriptor_is_given_back_also_after_an_error() -> None:
    async def main() -> None:
        with Timer():
            raise ValueError("planted")

    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(ValueError, match="planted"):
            asyncio.run(main())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
