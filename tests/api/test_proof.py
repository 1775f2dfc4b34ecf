"""What a report says was proven follows from the steps on record, and from nothing that is missing there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strop.api import proof
from strop.api.record import Record
from strop.measure.plan import ConfirmPlan
from strop.measure.quality import judge_scores
from strop.measure.result import Verdict
from strop.search.claims import ONE_SHOT, WITHOUT
from tests.search.conftest import compared

KEPT = ["18 amp_optimizer", "29 static_quantization", "47 model_serving_framework"]


def record(**steps: Any) -> Record:
    """A record of these steps."""
    return Record(Path("run"), {}, {key: {"result": value} for key, value in steps.items()})


def part(gain: float, verdict: Verdict = Verdict.FASTER) -> dict[str, Any]:
    comparison = compared(gain, verdict, "confirm")
    return {"text": "a recipe", "confirm": {"comparisons": {"all": comparison.to_json()}}}


def parts(adjusted: dict[str, float], **measured: Any) -> dict[str, Any]:
    names = {"single": ONE_SHOT, "amp": WITHOUT + "amp_optimizer"}
    rows = {f"part/{names[name]}": row for name, row in measured.items()}
    told = {names[name]: value for name, value in adjusted.items()}
    return {**rows, "registered/parts": {"rivals": dict.fromkeys(told)}, "parts": {"adjusted": told}}


def test_a_contribution_is_confirmed_or_screened_or_said_to_be_unknown() -> None:
    screened = {"screen": {"comparisons": {"all": compared(0.2, Verdict.FASTER).to_json()}}}
    end = {"kept": KEPT, "ablation": [["amp_optimizer", screened], ["static_quantization", screened]]}
    rows = proof.ablation(record(**parts({"amp": 0.01}, amp=part(0.3))), end)
    assert [row.instruction for row in rows] == KEPT
    assert [row.contribution and math.log(row.contribution.estimate) for row in rows] == [
        pytest.approx(0.3),
        pytest.approx(0.2),
        None,
    ]
    assert (rows[0].phase, rows[0].reason) == ("confirm", "faster")
    assert rows[1].phase != "confirm"
    assert rows[2].reason == "the budget did not allow it"


def test_a_part_that_was_started_and_not_timed_is_as_good_as_not_measured() -> None:
    untimed = parts({"amp": 1.0}, amp={"text": "a recipe", "confirm": None})
    (row,) = proof.ablation(record(**untimed), {"kept": KEPT[:1]})
    assert row.contribution is None and "all that was gained" in row.reason


def test_what_the_rest_needs_is_told_apart_from_what_the_budget_did_not_allow() -> None:
    rows = proof.ablation(record(), {"kept": KEPT, "inseparable": ["model_serving_framework"]})
    assert [row.reason for row in rows] == ["the budget did not allow it"] * 2 + ["the rest of the recipe cannot be without it"]


@pytest.mark.parametrize(("adjusted", "verdict"), [(0.05, Verdict.FASTER), (0.051, Verdict.UNDECIDED)])
def test_a_claim_that_does_not_stand_beside_the_others_is_withdrawn(adjusted: float, verdict: Verdict) -> None:
    (claim,) = proof.one_shot(record(**parts({"single": adjusted, "amp": 0.9}, single=part(0.3))))
    (comparison,) = claim.comparisons
    assert comparison.verdict is verdict and claim.against == f"{ONE_SHOT} (a recipe)"
    assert math.log(comparison.speedup.estimate) == pytest.approx(0.3), "the figure stays"
    notes = [f.message for f in comparison.findings if f.code == "holm"]
    assert notes == ([] if verdict is Verdict.FASTER else ["among 2 claims made together this one has p = 0.051"])


@pytest.mark.parametrize("verdict", [Verdict.SLOWER, Verdict.NO_GAIN, Verdict.UNDECIDED])
def test_what_was_no_claim_of_more_speed_is_not_touched(verdict: Verdict) -> None:
    (claim,) = proof.one_shot(record(**parts({"single": 1.0}, single=part(-0.3, verdict))))
    assert claim.comparisons[0].verdict is verdict and claim.comparisons[0].findings == ()


def test_an_interrupted_run_has_not_adjusted_its_claims_yet_and_makes_none() -> None:
    steps = parts({"single": 0.001}, single=part(0.3))
    del steps["parts"]
    (claim,) = proof.one_shot(record(**steps))
    assert claim.comparisons[0].verdict is Verdict.UNDECIDED
    assert proof.one_shot(record()) == ()


def judged(lost: int) -> dict[str, Any]:
    ours, theirs = np.ones(2000), np.ones(2000)
    theirs[:lost] = 0
    return {"result": judge_scores(ours, theirs, metric="accuracy", margin=0.01, alpha=0.05).to_json()}


@pytest.mark.parametrize(("lost", "word"), [(0, "held"), (20, "unproven"), (200, "broken")])
def test_quality_is_told_as_the_guard_found_it(lost: int, word: str) -> None:
    (check,) = proof.quality(record(workload={"unjudged": ""}, **{"quality/k": judged(lost)}))
    assert (check.guard, check.metric, check.examples, check.margin) == (word, "accuracy", 2000, 0.01)
    assert check.baseline == 1.0 and check.result == pytest.approx(1 - lost / 2000)
    assert check.discordance == pytest.approx(lost / 2000)


def test_quality_that_was_not_or_could_not_be_judged_says_so() -> None:
    about = {"unjudged": "no labels here"}
    (check,) = proof.quality(record(workload=about, **{"quality/k": None}))
    assert (check.guard, check.note) == ("not measured", "speed only, no quality claim: no labels here")
    (wrong,) = proof.quality(record(workload=about, **{"quality/k": {"wrong": "the metric fails"}}))
    assert (wrong.guard, wrong.note) == ("broken", "the metric fails")
    assert proof.quality(record(workload=about)) == (), "nothing was claimed"


def confirmed(peaks: list[tuple[int, int]], firsts: list[tuple[float, float]]) -> dict[str, Any]:
    def start(peak: int, first: float) -> dict[str, Any]:
        marks = {"interpreter_up": 0.1, "imported": 0.5, "loaded": 0.75, "first_output": first}
        return {"peak": peak, "marks": marks, "seconds": 2.0}

    each = zip(peaks, firsts, strict=True)
    return {
        "starts": [{"baseline": start(b, f), "candidate": start(c, g)} for (b, c), (f, g) in each],
        "tensors": {"baseline": 64, "candidate": 16},
        "disk": {"baseline": 9, "candidate": 3},
        "confirm": {"plan": ConfirmPlan(rounds=5, pairs=8).to_json()},
    }


FIVE = confirmed([(1000 + n, 500 + n) for n in range(5)], [(2.0 + n / 100, 1.0 + n / 100) for n in range(5)])


def test_memory_is_the_median_of_fresh_processes_and_its_verdict_needs_five() -> None:
    ours, theirs = proof.footprint(FIVE, "baseline"), proof.footprint(FIVE, "candidate")
    assert (ours.process_peak, ours.tensor_peak, ours.disk, ours.note) == (1002, 64, 9, "")
    assert (theirs.process_peak, theirs.tensor_peak, theirs.disk) == (502, 16, 3)
    assert theirs.note == "process peak: smaller, 1.98 to 2.01 times in 5 fresh processes of each"
    four = {**FIVE, "starts": FIVE["starts"][:4]}
    assert proof.footprint(four, "candidate").note == ""
    assert proof.footprint(None, "candidate").process_peak is None


@pytest.mark.parametrize(("scale", "word"), [(1.0, "no smaller"), (2.0, "larger"), (0.97, "undecided")])
def test_memory_that_is_not_less_is_not_called_less(scale: float, word: str) -> None:
    row = confirmed([(1000 + n, int(scale * (1000 + n))) for n in range(5)], [(1.0, 1.0)] * 5)
    assert proof.footprint(row, "candidate").note.startswith(f"process peak: {word}, ")


def test_cold_starts_are_compared_pair_by_pair() -> None:
    cold = proof.cold_start(FIVE)
    assert cold is not None and cold.starts == 5 and cold.speedup is not None
    assert [(mark.name, mark.baseline, mark.result) for mark in cold.marks][-1] == ("first answer", 2.02, 1.02)
    truth = math.exp(np.mean([math.log((2.0 + n / 100) / (1.0 + n / 100)) for n in range(5)]))
    assert cold.speedup.estimate == pytest.approx(truth, rel=1e-3)
    assert cold.speedup.low < truth < cold.speedup.high
    assert proof.cold_start(None) is None
