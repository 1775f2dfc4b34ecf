from __future__ import annotations

from typing import Any

import pytest

from strop.contract.card import Aim
from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.service import Service
from strop.contract.tally import Tally
from strop.contract.ties import Trait
from strop.instructions.deployment.i43_dynamic_batching import DynamicBatching
from strop.measure.host import Host
from strop.pipeline import Outcome, legal, settle
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import served_draft

HOST = Host(cpu="test", cores=2)


def lonely() -> Draft:
    return served_draft(company=0.01)


def batched_before() -> Draft:
    draft = served_draft()
    draft.service.max_rows = 64
    return draft


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=DynamicBatching(),
        draft=served_draft,
        foreign=lonely,
        idle=(DynamicBatching(), batched_before),
        host=HOST,
    )


def test_the_documented_settings_become_a_service() -> None:
    draft, tally = served_draft(), Tally()
    DynamicBatching().at_serve(draft, tally)
    assert draft.service == Service(objective=0.05, max_rows=64, first_rows=32, min_rows=8, scale=1.5, headroom=0.2)
    assert tally.total == 63


def test_an_objective_that_is_named_counts_and_not_the_timeout() -> None:
    draft = served_draft()
    draft.service.objective = 0.2
    DynamicBatching(timeout_micros=1000).at_serve(draft, Tally())
    assert draft.service.objective == 0.2


def test_single_calls_are_no_effect() -> None:
    told = settle(served_draft(), Recipe([DynamicBatching(max_batch_size=1, min_batch=1, max_batch=1)]), HOST)
    assert told.outcome is Outcome.NO_EFFECT and "changed nothing in how the bundle is served" in told.reason


def test_it_declines_where_requests_hardly_meet_and_where_rows_are_fixed() -> None:
    assert "only 1.0 % of the requests arrive while another" in str(DynamicBatching().decline(lonely(), HOST))
    draft = served_draft()
    draft.facts.notes["batchable"] = 0.0  # type: ignore[index]  # a plain dict
    assert "fixed number of rows" in str(DynamicBatching().decline(draft, HOST))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_batch": 65}, "from 1 to max_batch"),
        ({"max_batch_size": 0}, "from 1 to max_batch"),
        ({"timeout_micros": 0}, "timeout_micros must be at least 1"),
        ({"scale_factor": 1.0}, "scale_factor must be more than 1"),
        ({"scale_factor": float("nan")}, "scale_factor must be more than 1"),
        ({"memory_headroom": 1.0}, "memory_headroom is a share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DynamicBatching(**settings)


def test_it_belongs_to_services_only() -> None:
    assert DynamicBatching.card.aims == {Aim.GOODPUT}
    assert "needs serving workload" in str(legal(Recipe([DynamicBatching()]), frozenset({Trait.INFERENCE})))
