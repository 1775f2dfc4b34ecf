"""What may take the place of a version that serves, and what is said of the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strop.contract.signature import TensorSpec
from strop.engines.ragged import RaggedPlan
from strop.errors import ArtefactError
from strop.observe import Event
from strop.serve.app import App
from strop.serve.call import InferenceCall
from strop.serve.latency import LatencyModel, Seed
from strop.serve.problem import Problem
from strop.serve.stack import Stacker
from strop.serve.version import Loader, Version, other_padding, other_signature
from strop.serve.workers import ThreadWorkers
from tests.serve.doubler import Doubler, plain_signature
from tests.serve.test_stack import PADDING, tokens

Within = Callable[..., Any]
KNOWN = plain_signature(None, 4)


def newer(program: Doubler) -> Version:
    return Version(
        ThreadWorkers(program, 1), KNOWN, Stacker(KNOWN), LatencyModel([Seed(width=4, rows=1, seconds=7e-3)], 8), "test"
    )


def call() -> InferenceCall:
    return InferenceCall(arrays=[np.ones((1, 4), np.float32)], outputs=[(0, False)])


def test_batches_on_their_way_end_on_the_old_version_and_the_next_run_on_the_new(within: Within) -> None:
    async def act(app: App, old: Doubler) -> None:
        program = Doubler()
        loader = Loader(app.desk, KNOWN, lambda: newer(program), {})
        first = asyncio.create_task(app.desk.answer(call(), 16))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(app.desk.answer(call(), 16))
        await asyncio.sleep(0)
        await loader.load()
        assert app.desk.scheduler.latency.typical(4, 1) == 7e-3
        await asyncio.gather(first, second)
        assert (old.batches, program.batches) == ([1], [1])
        assert app.desk.counts.loads["ok"] == 1

    within(act, seconds=0.3, expected=0.3, objective=5.0)


def test_one_is_loaded_at_a_time_and_what_is_refused_changes_nothing(within: Within) -> None:
    async def act(app: App, old: Doubler) -> None:
        told: list[Event] = []
        release = threading.Event()

        def load() -> Version:
            release.wait(5)
            raise ArtefactError("/the/bundle is damaged.")

        loader = Loader(app.desk, KNOWN, load, {"/the/bundle": "double"}, told.append)
        first = asyncio.create_task(loader.load())
        await asyncio.sleep(0.01)
        with pytest.raises(Problem, match="another version is being loaded") as busy:
            await loader.load()
        assert busy.value.status == 409
        release.set()
        with pytest.raises(Problem, match=r"^double is damaged\. The old version goes on\.$") as refused:
            await first
        assert refused.value.status == 400
        assert "/the/bundle is damaged" in told[0].text, "the log hides nothing"
        assert (app.desk.counts.loads["refused"], app.desk.ready) == (1, True)
        await app.desk.answer(call(), 16)
        assert old.batches == [1]

    within(act)


def test_what_differs_is_named() -> None:
    x = KNOWN.inputs[0]
    assert other_signature(KNOWN, KNOWN) == ""
    renamed = replace(KNOWN, inputs=(replace(x, name="z"),))
    assert other_signature(KNOWN, renamed) == "it has the inputs z; x are served."
    wider = replace(KNOWN, outputs=(TensorSpec(name="y", dtype="float64", shape=(None, 4)),))
    assert other_signature(KNOWN, wider) == "its output 'y' is float64 [-1, 4]; float32 [-1, 4] is served."
    turned = replace(KNOWN, output_tree={"kind": "list", "children": [{"kind": "leaf", "index": 0}]})
    assert other_signature(KNOWN, turned) == "its inputs or outputs are arranged otherwise."


def test_other_padding_is_seen_and_other_widths_are_no_matter() -> None:
    padded = Stacker(tokens(), PADDING)
    assert other_padding(padded, Stacker(tokens(), replace(PADDING, edges=((16,),)))) == ""
    assert "padded otherwise" in other_padding(padded, Stacker(tokens(), RaggedPlan(reason="unsafe")))
