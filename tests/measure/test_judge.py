"""The judges: verdict and state of every point, doubts, and the same answer from the record alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.errors import MeasureError
from strop.measure.judge import Screen, judge_confirm, judge_screen
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Block, Comparison, Pair, Verdict

PLAN, CLAIM = ScreenPlan(), ConfirmPlan(rounds=5, pairs=8)


def pair(index: int, ratios: Sequence[float], round: int = 0, voided: str | None = None) -> Pair:
    """Return a pair whose log-ratio at point ``p0``, ``p1`` … is as given."""
    blocks = []
    for number, ratio in enumerate(ratios):
        blocks.append(Block(arm="baseline", point=f"p{number}", calls_ns=(10**9, 2 * 10**9, 10**9)))
        times = tuple(round_ns * math.exp(ratio) for round_ns in (10**9, 2 * 10**9, 10**9))
        blocks.append(Block(arm="candidate", point=f"p{number}", calls_ns=tuple(map(int, times))))
    return Pair(index=index, round=round, candidate_first=False, blocks=tuple(blocks), voided=voided)


def feed(values: Sequence[Sequence[float]], plan: ScreenPlan = PLAN, voids: dict[int, str] | None = None) -> Screen:
    screen = Screen(plan, [f"p{number}" for number in range(len(values[0]))])
    for index, ratios in enumerate(values):
        if screen.add(pair(index, ratios, voided=(voids or {}).get(index))):
            break
    return screen


def claim(theta: float, sigma: float = 0.01, rounds: int = 5, seed: int = 0, points: int = 1) -> list[Pair]:
    generator = np.random.default_rng(seed)
    return [
        pair(8 * number + i, theta + generator.normal(0, sigma, points), round=number)
        for number in range(rounds)
        for i in range(8)
    ]


def codes(comparison: Comparison) -> set[str]:
    return {finding.code for finding in comparison.findings}


def same(left: dict[str, Comparison], right: dict[str, Comparison]) -> bool:
    return json.dumps({k: v.to_json() for k, v in left.items()}) == json.dumps({k: v.to_json() for k, v in right.items()})


@pytest.mark.parametrize(("theta", "verdict"), [(-0.3, Verdict.FASTER), (0.3, Verdict.SLOWER), (0.0, Verdict.NO_GAIN)])
def test_screen_decides_and_stays_decided(theta: float, verdict: Verdict) -> None:
    noise = np.random.default_rng(0).normal(0, 0.005, 40)
    screen = feed([[theta + value] for value in noise])
    found = screen.comparisons()["all"]
    assert found.verdict is verdict
    assert found.pairs < 20
    assert found.speedup.low < math.exp(-theta) < found.speedup.high
    assert screen.add(pair(99, [5.0])) is verdict
    assert same(screen.comparisons(), {**screen.comparisons(), "all": found})


def test_screen_asks_for_more_until_the_cap() -> None:
    screen = Screen(ScreenPlan(max_pairs=10), ["p0"])
    answers = [screen.add(pair(index, [0.1 if index % 2 else -0.14])) for index in range(10)]
    assert answers == [None] * 9 + [Verdict.UNDECIDED]


def test_before_the_first_pair_nothing_is_known() -> None:
    found = Screen(PLAN, ["p0"]).comparisons()["all"]
    assert found.verdict is Verdict.UNDECIDED
    assert (found.pairs, found.speedup.estimate) == (0, 1.0)
    assert found.speedup.low < 1e-8 < 1e8 < found.speedup.high
    json.dumps(found.to_json(), allow_nan=False)


def test_a_regression_at_one_point_is_seen_beside_a_gain_over_all() -> None:
    generator = np.random.default_rng(1)
    screen = feed([[-0.6 + generator.normal(0, 0.01), 0.15 + generator.normal(0, 0.01)] for _ in range(40)])
    found = screen.comparisons()
    assert found["all"].verdict is Verdict.FASTER
    assert found["p0"].verdict is Verdict.FASTER
    assert found["p1"].verdict is Verdict.SLOWER
    assert list(found) == ["p0", "p1", "all"]


def test_evidence_is_what_it_was_at_the_stop_not_its_largest_value() -> None:
    """False discovery control needs stopped values; a largest value on the way is not an e-value."""
    ratios = [-0.1, -0.1, -0.11, -0.1, -0.12] + [0.2, -0.25] * 20
    screen = feed([[value] for value in ratios], ScreenPlan(min_pairs=40))
    from strop.measure.sequential import evidence

    path = np.exp(evidence(np.array(ratios[:40]), PLAN)[:, 0])
    assert path.max() > 2 * path[-1]
    assert screen.comparisons()["all"].evidence["e_faster"] == pytest.approx(path[-1], rel=1e-6)


@given(st.lists(st.floats(-0.4, 0.4), min_size=1, max_size=30), st.sets(st.integers(0, 29)), st.floats(-0.3, 0.3))
@settings(deadline=None, max_examples=40)
def test_the_record_gives_the_same_screening_verdict(values: list[float], voids: set[int], shift: float) -> None:
    screen = Screen(PLAN, ["p0"])
    for index, value in enumerate(values):
        screen.add(pair(index, [value + shift], voided="both: busy" if index in voids else None))
    stored = [Pair.from_json(json.loads(json.dumps(one.to_json()))) for one in screen.pairs]
    assert same(judge_screen(stored, PLAN, ["p0"]), screen.comparisons())


def test_voided_pairs_do_not_count() -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, 40)
    screen = feed([[-0.1 + value] for value in noise], voids={2: "both: busy", 4: "both: busy"})
    assert screen.comparisons()["all"].pairs == len(screen.pairs) - 2


def test_a_verdict_that_rests_on_voiding_is_not_given() -> None:
    """A fifth of the pairs says otherwise and was voided: the kept ones alone must not decide."""
    generator = np.random.default_rng(8)
    slow = np.arange(80) % 5 == 4
    values = [[(0.6 if hit else -0.026) + generator.normal(0, 0.01)] for hit in slow]
    voids = {int(i): "both: busy" for i in np.flatnonzero(slow)}
    kept = feed([value for i, value in enumerate(values) if not slow[i]])
    assert kept.comparisons()["all"].verdict is Verdict.FASTER
    found = feed(values, voids=voids).comparisons()["all"]
    assert found.verdict is Verdict.UNDECIDED
    assert "voiding-decides" in codes(found)


@pytest.mark.parametrize(("theta", "verdict"), [(-0.3, Verdict.FASTER), (0.3, Verdict.SLOWER), (0.0, Verdict.NO_GAIN)])
def test_a_host_that_is_always_busy_is_judged_by_all_its_pairs(theta: float, verdict: Verdict) -> None:
    noise = np.random.default_rng(5).normal(0, 0.005, 80)
    screen = feed([[theta + value] for value in noise], voids=dict.fromkeys(range(80), "both: busy"))
    found = screen.comparisons()["all"]
    assert found.verdict is verdict
    assert found.pairs > 0
    assert "noisy-host" in codes(found)


def test_a_few_voided_pairs_at_the_start_stay_out() -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, 40)
    screen = feed([[-0.1 + value] for value in noise], ScreenPlan(min_pairs=16), voids=dict.fromkeys(range(3), "both: busy"))
    assert screen.comparisons()["all"].pairs == len(screen.pairs) - 3


def test_an_arm_that_disturbs_itself_is_not_rescued() -> None:
    """Every pair in which the candidate faults in pages is slow; taking those out would make it look fast."""
    values = [[0.8] if i % 2 else [-0.2 + 0.001 * (i % 5)] for i in range(80)]
    voids = dict.fromkeys(range(1, 80, 2), "candidate: 9 pages were read from disk")
    screen = feed(values, ScreenPlan(min_pairs=16), voids=voids)
    found = screen.comparisons()["all"]
    assert found.verdict is not Verdict.FASTER
    assert found.pairs == len(screen.pairs)
    assert "void-asymmetry" in codes(found)


def test_wild_pairs_are_called_unsteady() -> None:
    noise = np.random.default_rng(4).normal(0, 0.4, 40)
    assert "unsteady" in codes(feed([[value] for value in noise]).comparisons()["all"])


def test_a_lasting_trend_is_reported_and_is_not_faster() -> None:
    found = feed([[value] for value in np.linspace(-0.1, -0.9, 40)]).comparisons()
    assert found["all"].verdict is Verdict.UNDECIDED
    assert found["p0"].verdict is Verdict.UNDECIDED
    assert "trend" in codes(found["all"])


@pytest.mark.parametrize(("theta", "verdict"), [(-0.3, Verdict.FASTER), (0.3, Verdict.SLOWER), (0.0, Verdict.NO_GAIN)])
def test_confirm_decides_for_each_point(theta: float, verdict: Verdict) -> None:
    found = judge_confirm(claim(theta, points=2), CLAIM, ["p0", "p1"])
    assert {comparison.verdict for comparison in found.values()} == {verdict}
    best = found["all"]
    assert (best.pairs, best.rounds, best.phase) == (40, 5, "confirm")
    assert best.speedup.low < math.exp(-theta) < best.speedup.high
    assert codes(best) == set()


def test_confirm_survives_the_record() -> None:
    pairs = claim(-0.05)
    stored = [Pair.from_json(json.loads(json.dumps(one.to_json()))) for one in pairs]
    assert same(judge_confirm(stored, ConfirmPlan.from_json(CLAIM.to_json()), ["p0"]), judge_confirm(pairs, CLAIM, ["p0"]))


def test_one_edited_sample_changes_the_result() -> None:
    pairs = claim(-0.05)
    edited = [*pairs[:7], pair(7, [-0.4]), *pairs[8:]]
    assert not same(judge_confirm(edited, CLAIM, ["p0"]), judge_confirm(pairs, CLAIM, ["p0"]))


def test_missing_rounds_forbid_a_claim() -> None:
    found = judge_confirm(claim(-0.3, rounds=3), CLAIM, ["p0"])["all"]
    assert found.verdict is Verdict.UNDECIDED
    assert "incomplete" in codes(found)


def test_unplanned_rounds_are_left_out() -> None:
    found = judge_confirm(claim(-0.3, rounds=5) + [pair(99, [9.0], round=7)] * 8, CLAIM, ["p0"])["all"]
    assert (found.verdict, found.rounds) == (Verdict.FASTER, 5)
    assert "unplanned-rounds" in codes(found)


@pytest.mark.parametrize(("rounds", "verdict", "code"), [(2, "UNDECIDED", "incomplete"), (3, "FASTER", "fewer-rounds")])
def test_fewer_rounds_do_only_where_that_was_planned(rounds: int, verdict: str, code: str) -> None:
    plan = ConfirmPlan(rounds=5, pairs=8, least=3)
    found = judge_confirm(claim(-0.3, rounds=rounds), plan, ["p0"])["all"]
    assert (found.verdict, found.rounds) == (Verdict[verdict], rounds)
    assert code in codes(found)


def test_a_claim_that_rests_on_voiding_is_undecided() -> None:
    pairs = claim(-0.022, sigma=0.002)
    spoiled = [pair(900 + i, [0.5], round=i % 2, voided="both: busy") for i in range(10)]
    assert judge_confirm(pairs, CLAIM, ["p0"])["all"].verdict is Verdict.FASTER
    found = judge_confirm(pairs + spoiled, CLAIM, ["p0"])["all"]
    assert found.verdict is Verdict.UNDECIDED
    assert "voiding-decides" in codes(found)


def test_a_claim_from_a_host_that_is_always_busy_uses_all_pairs() -> None:
    pairs = claim(-0.05, sigma=0.004)
    spoiled = [pair(900 + i, [-0.05], round=i % 5, voided="both: busy") for i in range(60)]
    found = judge_confirm(pairs + spoiled, CLAIM, ["p0"])["all"]
    assert (found.verdict, found.pairs) == (Verdict.FASTER, 100)
    assert "noisy-host" in codes(found)


def test_a_claim_about_an_arm_that_disturbs_itself_uses_all_pairs() -> None:
    pairs = claim(-0.05, sigma=0.004)
    spoiled = [pair(900 + i, [0.5], round=i % 5, voided="candidate: 1 pages were read from disk") for i in range(60)]
    found = judge_confirm(pairs + spoiled, CLAIM, ["p0"])["all"]
    assert found.pairs == 100
    assert found.verdict is not Verdict.FASTER
    assert "void-asymmetry" in codes(found)


def test_rounds_that_all_drift_are_reported() -> None:
    drifting = [pair(8 * number + i, [-0.3 + 0.02 * i], round=number) for number in range(5) for i in range(8)]
    assert "trend" in codes(judge_confirm(drifting, CLAIM, ["p0"])["all"])


def test_no_usable_rounds_is_an_error_that_counts_them() -> None:
    with pytest.raises(MeasureError, match="usable pairs by round: none"):
        judge_confirm([], CLAIM, ["p0"])
    with pytest.raises(MeasureError, match="usable pairs by round: 1, 1"):
        judge_confirm([pair(0, [0.0], round=0), pair(1, [0.0], round=1)], CLAIM, ["p0"])


def test_a_round_that_voiding_would_leave_bare_is_used_as_it_came() -> None:
    small = ConfirmPlan(pairs=4)
    pairs = [pair(i, [-0.3 + 0.01 * (i % 3)], round=i // 4, voided="both: busy" if i in (0, 1, 3) else None) for i in range(20)]
    found = judge_confirm(pairs, small, ["p0"])["all"]
    assert (found.verdict, found.pairs, found.rounds) == (Verdict.FASTER, 20, 5)
