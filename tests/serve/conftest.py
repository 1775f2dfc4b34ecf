"""A program that doubles its input and misbehaves on demand, and what is needed to serve it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from strop.contract.engine import Program
from strop.contract.signature import Signature, TensorSpec
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel, Seed
from strop.serve.limits import Limits
from strop.serve.policy import Policy
from strop.serve.scheduler import Scheduler
from strop.serve.stack import Stacker

POISON, SHORT, HUNGRY, STUCK = 666.0, 777.0, 888.0, 999.0
"""Values in a row that make the program raise, answer a row less, run out of memory beside others, and hang."""


class Doubler(Program):
    """Doubles rows of four; counts its calls and remembers the rows of each.

    Args:
        seconds: time of a call.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.release = threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer."""
        (rows,) = args
        self.batches.append(len(rows))
        if self.seconds:
            time.sleep(self.seconds)
        if (rows == POISON).any():
            raise ValueError("planted, in /a/secret/place")
        if (rows == HUNGRY).any() and len(rows) > 2:
            raise MemoryError("planted")
        if (rows == STUCK).any():
            self.release.wait(30)
        answer = rows * np.float32(2)
        return answer[:-1] if (rows == SHORT).any() else answer


def plain_signature(*shape: int | None) -> Signature:
    """Return the signature of a program with one float32 input ``x`` and one output ``y``."""
    leaf = {"kind": "leaf", "index": 0}
    nothing = {"kind": "dict", "keys": [], "children": []}
    return Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
        input_tree={"kind": "list", "children": [{"kind": "list", "children": [leaf]}, nothing]},
        outputs=(TensorSpec(name="y", dtype="float32", shape=shape),),
        output_tree=leaf,
    )


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
