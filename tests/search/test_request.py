"""A run's question survives its record, and says how times are compared."""

from __future__ import annotations

import json

import pytest

from strop.contract.card import Aim
from strop.contract.quality import MaxDrop
from strop.search.request import Request

EVERYTHING = Request(
    aim=Aim.THROUGHPUT,
    max_drop=MaxDrop(0.5, relative=False),
    budget=90.5,
    seed=7,
    delta=0.0,
    alpha=0.01,
    exact=True,
    only=(29, 47),
    pinned=(13,),
)


@pytest.mark.parametrize("request_", [Request(), EVERYTHING], ids=["defaults", "everything set"])
def test_a_request_survives_json(request_: Request) -> None:
    again = Request.from_json(json.loads(json.dumps(request_.to_json())))
    assert again == request_
    assert isinstance(again.aim, Aim) and isinstance(again.max_drop, MaxDrop) and isinstance(again.only, tuple)


@pytest.mark.parametrize("aim", Aim)
def test_calls_are_compared_where_a_call_is_what_counts_and_whole_blocks_elsewhere(aim: Aim) -> None:
    of_calls = aim in (Aim.LATENCY, Aim.SIZE, Aim.MEMORY)
    assert Request(aim=aim).metric == ("goodput" if aim is Aim.GOODPUT else "latency" if of_calls else "throughput")
