"""Latencies, the Pareto plane and the roofline are computed from the raw samples of the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from strop.api.numbers import latencies, pareto, roofline
from strop.api.record import Record
from strop.ledger.files import read_json
from strop.ledger.ledger import Ledger, read_pairs
from strop.measure.result import Block, Pair

if TYPE_CHECKING:
    from tests.conftest import WholeRun


@pytest.fixture
def record(whole_run: WholeRun) -> Record:
    """The whole run, read."""
    return Record.read(whole_run.folder)


def written(place: Path, pairs: list[Pair]) -> dict[str, Any]:
    """A record with pairs, as a confirmation refers to them."""
    with Ledger.create(place / "run", {"name": "x"}) as ledger:
        return {"confirm": {"samples": ledger.write_pairs("confirm", pairs), "points": ["one"]}}


def pair(index: int, milliseconds: tuple[float, float], voided: str | None = None) -> Pair:
    blocks = tuple(
        Block(arm=arm, point="one", calls_ns=(int(ms * 1e6),) * 3)
        for arm, ms in zip(("baseline", "candidate"), milliseconds, strict=True)
    )
    return Pair(index=index, round=0, candidate_first=False, blocks=blocks, voided=voided)


def test_a_latency_is_the_median_of_the_calls_of_its_arm(place: Path) -> None:
    confirmed = written(place, [pair(i, (10.0 + i, 2.0)) for i in range(11)])
    (before,), (after,) = latencies(Record(place / "run", {}, {}), confirmed)
    assert before.p50.estimate == pytest.approx(0.015)
    assert after.p50.estimate == pytest.approx(0.002)
    assert before.p50.low <= before.p50.estimate <= before.p50.high
    assert after.calls_per_second == pytest.approx(500.0)
    assert before.p90 is not None
    assert before.p90.estimate >= before.p50.estimate
    assert before.p90.calls == 33


def test_voided_pairs_do_not_count_unless_there_are_no_others(place: Path) -> None:
    confirmed = written(place, [pair(0, (10.0, 2.0)), pair(1, (900.0, 900.0), "the machine was busy")])
    (before,), _ = latencies(Record(place / "run", {}, {}), confirmed)
    assert before.p50.estimate == pytest.approx(0.010)
    only = written(place / "only", [pair(0, (900.0, 900.0), "the machine was busy")])
    (before,), _ = latencies(Record(place / "only" / "run", {}, {}), only)
    assert before.p50.estimate == pytest.approx(0.9)


def test_without_a_confirmation_the_original_is_known_from_the_placebo_alone(record: Record) -> None:
    (before,), after = latencies(record, None)
    assert after == ()
    pairs = read_pairs(record.folder / record.result("placebo")["judgement"]["samples"]["file"])
    calls = [ns / 1e9 for p in pairs for b in p.blocks if b.arm == "baseline" for ns in b.calls_ns]
    assert min(calls) <= before.p50.estimate <= max(calls)
    assert latencies(Record(record.folder, record.plan, {}), None) == ((), ())


def test_the_plane_holds_the_original_every_judged_trial_and_the_result(record: Record) -> None:
    trials = record.under("trial")
    before, _ = latencies(record, record.confirmed)
    plane = pareto(record, trials, before, record.confirmed)
    assert plane is not None
    labels = [point.label for point in plane.points]
    assert (labels[0], labels[-1]) == ("original", "result")
    assert plane.points[0].latency == before[0].p50.estimate
    assert plane.points[-1].latency < plane.points[0].latency
    assert plane.limit == pytest.approx(0.9 * 0.98)
    assert not any("segfault" in label or "wrong" in label for label in labels), "what was not judged has no place"
    fallen = Record(record.folder, record.plan, {**record.steps, "end": {"result": {**record.result("end"), "result": None}}})
    refuted = pareto(fallen, trials, before, record.confirmed)
    assert refuted is not None
    last = refuted.points[-1]
    assert (last.label, last.status, last.phase) == ("claimed, and refuted", "refuted", "confirm")
    assert pareto(record, [], before, record.confirmed) is None
    assert pareto(record, trials, (), None) is None


def test_the_limit_lies_above_where_lower_is_better(record: Record) -> None:
    trials = [row for row in record.under("trial") if row["quality"]]
    lower = {**trials[0]["quality"]["result"], "higher_is_better": False, "baseline": 2.0, "margin": 0.1}
    changed = [{**row, "quality": {**row["quality"], "result": lower}} for row in trials]
    before, _ = latencies(record, record.confirmed)
    plane = pareto(record, changed, before, None)
    assert plane is not None
    assert plane.limit == pytest.approx(2.1)


def test_the_result_stands_above_the_original_under_the_roof(record: Record) -> None:
    places = roofline(record, record.confirmed)
    assert [(place.label, place.result) for place in places] == [("original, batch 8", False), ("result, batch 8", True)]
    speedup = read_json(next((record.folder / "steps").glob("*confirm-*")))["result"]["confirm"]["comparisons"]["batch 8"][
        "speedup"
    ]
    assert places[0].intensity == places[1].intensity
    assert np.isclose(places[1].achieved / places[0].achieved, speedup["estimate"])
    assert roofline(Record(record.folder, record.plan, {}), None) == ()
