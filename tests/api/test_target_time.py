"""Time to target of a claim, from planted steps of a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strop.api.record import Record
from strop.api.target_time import time_to_target
from strop.contract.recipe import Recipe
from strop.measure.reach import Look
from strop.search.tuning import SEEDS, course_key

PLAN = {"request": {"max_drop": {"value": 0.1, "relative": True}}}


def planted(quick: float, end: float | None = 0.9, **more: Any) -> Record:
    """Plain trainings of 12 s that end with 0.9, and those of recipe "r", ``quick`` times faster, that end with ``end``."""
    judged = {"settings": {"metric": "hits", "higher_is_better": True}, "result": {"n": SEEDS}}
    results: dict[str, Any] = {"end": {"result": "r"}, "quality/r": judged}
    for number in range(SEEDS):
        for key, factor, last in ((Recipe().key, 1.0, 0.9), ("r", quick, end)):
            looks = [Look(step=s, seconds=s / factor, loss=1 / s, metric=m) for s, m in ((6, 0.5), (12, last))]
            if end is None:
                looks = [Look(step=look.step, seconds=look.seconds, loss=look.loss) for look in looks]
            results[course_key(key, number)] = {"looks": [look.to_json() for look in looks]}
    results |= more
    return Record(Path(), PLAN, {key: {"result": value} for key, value in results.items()})


def test_a_claim_has_its_time_to_target_seed_by_seed() -> None:
    told = time_to_target(planted(3.0, 0.82))
    assert told is not None and told.what == "hits on the screening split" and told.looks == 2
    assert [row.target for row in told.seeds] == [pytest.approx(0.81)] * SEEDS  # 10 % of 0.9 may be lost
    assert {(row.baseline_seconds, row.baseline_steps, row.result_seconds, row.result_steps) for row in told.seeds} == {
        (12.0, 12, 4.0, 12)
    }
    assert told.sooner is not None and told.sooner.estimate == pytest.approx(3.0)


def test_what_is_never_reached_gives_no_ratio() -> None:
    told = time_to_target(planted(3.0, 0.80))
    assert told is not None and told.sooner is None and {row.result_seconds for row in told.seeds} == {None}


def test_without_a_screening_split_the_loss_stands_in() -> None:
    told = time_to_target(planted(2.0, None))
    assert told is not None and told.what == "the plain training's last loss" and told.seeds[0].target == pytest.approx(1 / 12)
    assert told.sooner is not None and told.sooner.estimate == pytest.approx(2.0)


@pytest.mark.parametrize("quality", [None, {"wrong": "its training with seed 1 of 5 failed: planted"}])
def test_where_nothing_was_judged_there_is_none(quality: Any) -> None:
    assert time_to_target(planted(3.0, **{"quality/r": quality})) is None
