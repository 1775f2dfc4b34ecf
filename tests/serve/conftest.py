"""What is needed to serve a doubler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from strop.contract.signature import Signature
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel, Seed
from strop.serve.limits import Limits
from strop.serve.policy import Policy
from strop.serve.scheduler import Scheduler
from strop.serve.stack import Stacker
from tests.serve.doubler import HUNGRY, POISON, SHORT, STUCK, Doubler, plain_signature

__all__ = ["HUNGRY", "POISON", "SHORT", "STUCK", "Doubler", "plain_signature"]

Within = Callable[[Callable[[App, Doubler], Awaitable[Any]]], Any]


@pytest.fixture
def signature() -> Callable[..., Signature]:
    """Makes signatures of one input and one output."""
    return plain_signature


@pytest.fixture
def within() -> Callable[..., Any]:
    """Runs a coroutine function with an application that serves a doubler; the desk is closed afterwards."""

    def run(
        act: Callable[[App, Doubler], Awaitable[Any]],
        *,
        seconds: float = 0.0,
        expected: float = 2e-3,
        hang: float = 30.0,
        limits: Limits | None = None,
        **policy: Any,
    ) -> Any:
        program = Doubler(seconds)
        settings = {"objective": 0.5, "max_rows": 8, **policy}

        async def main() -> Any:
            seeds = [Seed(width=4, rows=rows, seconds=expected) for rows in (1, 8)]
            scheduler = Scheduler(Policy(**settings), LatencyModel(seeds, settings["max_rows"]))
            desk = Desk(program, Stacker(plain_signature(None, 4)), scheduler, hang=hang)
            app = App(desk, plain_signature(None, 4), name="double", platform="test", limits=limits or Limits())
            try:
                result = await act(app, program)
                assert (scheduler.accounts.open, scheduler.accounts.unaccounted) == (0, 0)
                return result
            finally:
                program.release.set()
                await desk.close()

        return asyncio.run(main())

    return run
