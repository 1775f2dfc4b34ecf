"""Goodput is judged by counts: identities, zeros, and the error rate of a claim under the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strop.errors import MeasureError, UsageError
from strop.measure.goodput import Counts, goodput_statistics
from strop.measure.judge import judge_confirm
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.ratios import log_ratios
from strop.measure.result import Block, Pair, Verdict

PLAN = ConfirmPlan(rounds=3, pairs=4, metric="goodput")


def pair(number: int, round: int, baseline: int, candidate: int) -> Pair:
    blocks = tuple(
        Block(arm=arm, point="arrivals", calls_ns=(1000,) * count)
        for arm, count in (("baseline", baseline), ("candidate", candidate))
    )
    return Pair(index=number, round=round, candidate_first=False, blocks=blocks)


def judged(rounds: list[list[tuple[int, int]]], plan: ConfirmPlan = PLAN) -> tuple[Verdict, float, float, float]:
    pairs = [pair(n, r, *counts) for r, windows in enumerate(rounds) for n, counts in enumerate(windows)]
    found = judge_confirm(pairs, plan, ("arrivals",))
    assert set(found) == {"arrivals", "all"} and found["all"].verdict is found["arrivals"].verdict
    s = found["all"].speedup
    return found["all"].verdict, s.low, s.estimate, s.high


def test_the_ratio_of_the_totals_lies_in_its_interval() -> None:
    verdict, low, estimate, high = judged([[(20, 61), (25, 70)], [(22, 66), (24, 71)], [(21, 64), (23, 70)]])
    assert verdict is Verdict.FASTER
    assert estimate == pytest.approx(402 / 135)
    assert 1.02 < low < estimate < high < 4


def test_a_baseline_that_answers_nothing_for_a_whole_round_can_be_beaten() -> None:
    windows = [
        [(0, 90), (0, 88), (0, 91), (0, 92)],
        [(26, 95), (25, 90), (27, 93), (26, 92)],
        [(22, 92), (23, 90), (24, 91), (22, 95)],
    ]
    verdict, low, estimate, high = judged(windows)
    assert verdict is Verdict.FASTER and low > 1.02 and estimate == pytest.approx(1099 / 195) and math.isfinite(estimate)
    assert high > estimate


def test_one_that_never_answers_has_no_upper_bound_and_two_that_never_do_prove_nothing() -> None:
    verdict, low, estimate, high = judged([[(0, 9), (0, 8)], [(0, 9), (0, 9)], [(0, 8), (0, 9)]])
    assert verdict is Verdict.FASTER and high == math.inf
    assert 8 < low < 52 / 3 < estimate == 105, "52 beside none: not more than 52 beside the three that none may hide"
    assert judged([[(0, 0), (0, 0)]] * 3)[0] is Verdict.UNDECIDED


def test_swapping_the_arms_turns_the_verdict_round() -> None:
    rounds = [[(50, 80), (52, 78)], [(51, 83), (49, 81)], [(50, 79), (53, 82)]]
    assert judged(rounds)[0] is Verdict.FASTER
    assert judged([[(c, b) for b, c in windows] for windows in rounds])[0] is Verdict.SLOWER


def test_equal_arms_are_no_worthwhile_gain_and_few_noisy_windows_are_undecided() -> None:
    assert judged([[(100, 100), (99, 100)], [(100, 100), (100, 99)], [(100, 100), (100, 100)]])[0] is Verdict.NO_GAIN
    assert judged([[(40, 90), (90, 50)], [(60, 70), (70, 65)], [(80, 60), (60, 95)]])[0] is Verdict.UNDECIDED


def test_rounds_that_agree_by_chance_are_not_believed_more_than_their_windows() -> None:
    luck = [Counts(np.array([10.0, 60.0]), np.array([20.0, 55.0]))] * 3
    assert goodput_statistics(luck, PLAN).verdict is Verdict.UNDECIDED


def test_nothing_is_claimed_before_all_planned_rounds_are_measured() -> None:
    plan = ConfirmPlan(rounds=5, pairs=2, metric="goodput")
    assert judged([[(20, 61), (25, 70)], [(22, 66), (24, 71)], [(21, 64), (23, 70)]], plan)[0] is Verdict.UNDECIDED
    with pytest.raises(MeasureError, match="two rounds of two pairs or more; pairs by round: 1"):
        judged([[(1, 2)]], plan)


def test_a_true_ratio_at_the_edge_is_claimed_no_more_often_than_alpha() -> None:
    draw, plan, false = np.random.default_rng(1), ConfirmPlan(rounds=5, pairs=4, metric="goodput"), 0
    for _ in range(250):
        rounds = [
            Counts(draw.poisson(50 * level, 4).astype(float), draw.poisson(1.02 * 50 * level, 4).astype(float))
            for level in draw.uniform(0.3, 1.2, 5)
        ]
        false += goodput_statistics(rounds, plan).verdict is Verdict.FASTER
    assert false / 250 < 0.09, "5 % and three standard errors"


def test_screening_compares_counts_and_bears_an_empty_window() -> None:
    pairs = [pair(0, 0, 10, 30), pair(1, 0, 0, 12)]
    assert log_ratios(pairs, "arrivals", "goodput") == pytest.approx([math.log(10.5 / 30.5), math.log(0.5 / 12.5)])
    with pytest.raises(UsageError, match="metric of a measuring plan must be one of latency, throughput, goodput"):
        ScreenPlan(metric="good")  # type: ignore[arg-type]
