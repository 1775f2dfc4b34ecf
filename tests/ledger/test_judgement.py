"""Recorded comparisons: the plan, the pairs and the verdict that follows from both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strop.errors import LedgerError
from strop.ledger.files import read_json, sha256, write_json
from strop.ledger.judgement import judge, read_comparisons, record_judgement, rejudge
from strop.ledger.ledger import Ledger, read_pairs
from strop.ledger.verify import verify_ledger
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Block, Pair, Verdict

POINTS = ("batch 1", "größe 大")
SCREEN, CONFIRM = ScreenPlan(), ConfirmPlan(rounds=3, pairs=4)
PLANS = [SCREEN, CONFIRM]


def pairs(theta: float, count: int = 12) -> list[Pair]:
    """Return pairs whose log-ratio is ``theta`` and a little that differs from pair to pair."""
    made = []
    for index in range(count):
        blocks = []
        for point in POINTS:
            ns = 1_000_000 + 1000 * index
            slower = round(ns * math.exp(theta + 0.002 * (index % 3 - 1)))
            blocks += [
                Block(arm="baseline", point=point, calls_ns=(ns, ns + 7, ns)),
                Block(arm="candidate", point=point, calls_ns=(slower, slower + 7, slower)),
            ]
        voided = "both: busy" if index == 5 else None
        made.append(Pair(index=index, round=index // 4, candidate_first=index % 2 == 0, blocks=tuple(blocks), voided=voided))
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ein lauf", {}) as made:
        yield made


@pytest.mark.parametrize("plan", PLANS, ids=["screen", "confirm"])
@pytest.mark.parametrize("theta", [-0.3, 0.0, 0.3])
def test_what_is_recorded_is_what_was_judged_and_is_judged_again_from_the_file(
    plan: ScreenPlan | ConfirmPlan, theta: float, ledger: Ledger
) -> None:
    record = json.loads(json.dumps(record_judgement(ledger, "one", plan, pairs(theta), POINTS)))
    direct = judge(plan, pairs(theta), POINTS)
    assert record["kind"] == ("screen" if plan is SCREEN else "confirm")
    assert list(direct) == [*POINTS, "all"]
    assert read_comparisons(record) == direct == rejudge(ledger.folder, record)
    assert read_pairs(ledger.folder / record["samples"]["file"]) == pairs(theta)
    assert sha256(ledger.folder / record["samples"]["file"]) == record["samples"]["sha256"]


@pytest.mark.parametrize("plan", PLANS, ids=["screen", "confirm"])
def test_a_planted_gain_is_found_and_a_planted_loss_is_not_called_one(plan: ScreenPlan | ConfirmPlan, ledger: Ledger) -> None:
    gain = read_comparisons(record_judgement(ledger, "gain", plan, pairs(-0.3), POINTS))["all"]
    loss = read_comparisons(record_judgement(ledger, "loss", plan, pairs(0.3), POINTS))["all"]
    assert gain.verdict is Verdict.FASTER and loss.verdict is Verdict.SLOWER
    assert gain.speedup.estimate == pytest.approx(math.exp(0.3), rel=0.01)


def test_the_plan_that_was_recorded_decides_and_not_todays_defaults(ledger: Ledger) -> None:
    record = record_judgement(ledger, "one", ScreenPlan(delta=0.5), pairs(-0.3), POINTS)
    assert rejudge(ledger.folder, record)["all"].verdict is not Verdict.FASTER
    loosened = {**record, "plan": {**record["plan"], "delta": 0.02}}
    assert rejudge(ledger.folder, loosened)["all"].verdict is Verdict.FASTER


def test_a_screening_cannot_pass_for_a_confirmation(ledger: Ledger) -> None:
    record = record_judgement(ledger, "one", SCREEN, pairs(-0.3), POINTS)
    with pytest.raises(TypeError):
        rejudge(ledger.folder, {**record, "kind": "confirm"})


def test_missing_pairs_are_named(ledger: Ledger) -> None:
    record = record_judgement(ledger, "one", SCREEN, pairs(-0.3), POINTS)
    (ledger.folder / record["samples"]["file"]).unlink()
    with pytest.raises(LedgerError, match=r"one\.jsonl does not hold readable pairs"):
        rejudge(ledger.folder, record)


def emptied(lines: list[str]) -> list[str]:
    return []


def first_only(lines: list[str]) -> list[str]:
    return lines[:1]


def without_a_block(lines: list[str]) -> list[str]:
    row = json.loads(lines[0])
    return [json.dumps({**row, "blocks": row["blocks"][1:]}), *lines[1:]]


def without_time(lines: list[str]) -> list[str]:
    row = json.loads(lines[0])
    row["blocks"][0]["calls_ns"][0] = 0
    return [json.dumps(row), *lines[1:]]


@pytest.mark.parametrize("change", [emptied, first_only, without_a_block, without_time])
@pytest.mark.parametrize("plan", PLANS, ids=["screen", "confirm"])
def test_verifying_damaged_pairs_names_their_file_and_goes_on(
    plan: ScreenPlan | ConfirmPlan, change: Any, ledger: Ledger
) -> None:
    made = record_judgement(ledger, "made", plan, pairs(-0.3), POINTS)
    good = record_judgement(ledger, "good", plan, pairs(-0.3), POINTS)
    ledger.step("both", lambda: [made, good])
    path = ledger.folder / made["samples"]["file"]
    path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))
    checks = verify_ledger(ledger.folder)
    assert {check.file for check in checks if check.problem} == {made["samples"]["file"], "digests.json"}
    assert [check.what for check in checks if check.file == good["samples"]["file"]] == [
        "digest",
        f"{made['kind']} verdict follows from the samples",
    ]


def test_verifying_a_plan_that_makes_no_sense_is_a_finding(ledger: Ledger) -> None:
    ledger.step("one", lambda: record_judgement(ledger, "one", SCREEN, pairs(-0.3), POINTS))
    (path,) = (ledger.folder / "steps").iterdir()
    step = read_json(path)
    step["result"]["plan"]["alpha"] = 7
    write_json(path, step)
    problems = [check.problem or "" for check in verify_ledger(ledger.folder) if check.file == "samples/one.jsonl"]
    assert any("alpha" in problem for problem in problems)
