"""Which claim a run directory is about, at every stage it may have ended in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strop.api.record import Record
from strop.errors import LedgerError
from strop.ledger.ledger import Ledger

STEPS = {
    "placebo": 1,
    "trial/base/one": {"n": 1},
    "trial/base/two": {"n": 2},
    "registered/first": {},
    "quality/first": None,
    "registered/second": {},
    "quality/second": {"guard": "held"},
    "confirm/second": {"confirm": {"timed": True}},
    "end": {"result": None},
}


def recorded(place: Path, count: int, **changed: Any) -> Record:
    """The record of a run that ended after its first ``count`` steps."""
    with Ledger.create(place / "run", {"name": "planted"}) as ledger:
        for key, value in list({**STEPS, **changed}.items())[:count]:
            ledger.step(key, lambda value=value: value)  # type: ignore[misc]
    return Record.read(place / "run")


def test_a_record_is_plan_and_steps(place: Path) -> None:
    record = recorded(place, len(STEPS))
    assert record.plan["name"] == "planted" and list(record.steps) == list(STEPS)
    assert record.result("trial/base/two") == {"n": 2}
    assert record.under("trial") == [{"n": 1}, {"n": 2}] and record.under("tri") == []


@pytest.mark.parametrize(
    ("count", "claimed", "confirmed"),
    [
        (0, None, None),
        (4, None, None),
        (5, "first", None),
        (6, "first", None),
        (7, "second", None),
        (8, "second", {"confirm": {"timed": True}}),
        (9, "second", {"confirm": {"timed": True}}),
    ],
)
def test_the_claim_is_the_last_one_tested(count: int, claimed: str | None, confirmed: Any, place: Path) -> None:
    record = recorded(place, count)
    assert (record.claimed, record.confirmed) == (claimed, confirmed)


def test_a_result_is_the_claim_whatever_was_tested_after_it(place: Path) -> None:
    record = recorded(place, len(STEPS), end={"result": "first"})
    assert record.claimed == "first" and record.confirmed is None


def test_what_is_not_there_is_nothing_and_what_is_not_readable_is_an_error(place: Path) -> None:
    record = recorded(place, 2)
    assert record.result("end") is None
    (place / "run" / "plan.json").write_text("{")
    with pytest.raises(LedgerError, match=r"plan\.json cannot be read"):
        Record.read(place / "run")
