"""Pairs on a scripted clock: the coin, the inputs, the order, the mirror."""

import math
import statistics
from collections import Counter

import pytest

from strop.errors import UsageError
from strop.measure.coin import coin
from strop.measure.collect import LONG_CALL, BlockPlan, PointPlan, PointProfile, block_plan, profile, read_profile, take_pair
from strop.measure.result import Block, Counters, Pair
from strop.testing.scripted import ScriptedArm, ScriptedClock

MS = 1_000_000
PLAN = BlockPlan(points={"small": PointPlan(discards=1, timed=5), "large": PointPlan(discards=2, timed=3)})
POINTS = {"small": 16, "large": 4}


def noisy(scale: float, clock_matters: bool = True):  # type: ignore[no-untyped-def]
    """Call time with a drift in the clock and a length in the input."""

    def cost(point: str, index: int, now: int) -> int:
        drift = 1 + 0.3 * math.sin(now / 3e8) if clock_matters else 1.0
        return round(scale * drift * (2 + index) * (3 if point == "large" else 1) * MS)

    return cost


def arms(
    first: float = 1.0, second: float = 0.8, *, clock_matters: bool = True
) -> tuple[ScriptedArm, ScriptedArm, ScriptedClock]:
    clock = ScriptedClock()
    return (
        ScriptedArm("baseline", noisy(first, clock_matters), clock, POINTS),
        ScriptedArm("candidate", noisy(second, clock_matters), clock, POINTS),
        clock,
    )


def pairs(count: int, *, seed: int = 1, comparison: str = "c", first: float = 1.0, second: float = 0.8) -> list[Pair]:
    baseline, candidate, clock = arms(first, second)
    return [
        take_pair(baseline, candidate, PLAN, seed=seed, comparison=comparison, index=n, cores=2, sleep=clock.sleep)
        for n in range(count)
    ]


def log_ratio(pair: Pair, point: str) -> float:
    value = {b.arm: statistics.median(b.calls_ns) for b in pair.blocks if b.point == point}
    return math.log(value["candidate"]) - math.log(value["baseline"])


def test_the_order_is_the_logged_coin() -> None:
    for pair in pairs(40):
        assert pair.candidate_first == coin(1, "c", pair.index)
        for point in POINTS:
            order = [block.arm for block in pair.blocks if block.point == point]
            assert order == (["candidate", "baseline"] if pair.candidate_first else ["baseline", "candidate"])


def test_the_two_visits_to_a_point_follow_each_other() -> None:
    for pair in pairs(20):
        points = [block.point for block in pair.blocks]
        assert points[0] == points[1] != points[2] == points[3]
    assert {pair.blocks[0].point for pair in pairs(40)} == set(POINTS), "the points' order is drawn too"


def test_every_input_is_timed_equally_often_over_the_pairs() -> None:
    """A ratio that differs with the input must not depend on which inputs the pairs happened to draw."""
    baseline, candidate, clock = arms()
    for n in range(16):
        take_pair(baseline, candidate, PLAN, seed=3, comparison="c", index=n, cores=2, sleep=clock.sleep)
    for point, plan in PLAN.points.items():
        timed = Counter(i for at, inputs, _ in baseline.visits if at == point for i in inputs[plan.discards :])
        assert set(timed.values()) == {16 * plan.timed // POINTS[point]}


def test_both_arms_see_the_same_inputs_and_the_plan_is_kept() -> None:
    baseline, candidate, clock = arms()
    for n in range(20):
        pair = take_pair(baseline, candidate, PLAN, seed=3, comparison="c", index=n, cores=2, sleep=clock.sleep)
        for block in pair.blocks:
            assert len(block.calls_ns) == PLAN.points[block.point].timed
    assert baseline.visits == candidate.visits
    assert len({inputs for point, inputs, _ in baseline.visits if point == "small"}) == 20, "every pair draws anew"
    assert {len(inputs) - PLAN.points[point].timed for point, inputs, _ in baseline.visits if point == "large"} == {2}
    assert baseline.parked
    assert candidate.parked


def test_the_same_seed_repeats_everything_and_another_does_not() -> None:
    assert pairs(10) == pairs(10)
    for other in (pairs(10, seed=2), pairs(10, comparison="d")):
        assert [b.calls_ns for p in other for b in p.blocks] != [b.calls_ns for p in pairs(10) for b in p.blocks]


def test_swapped_arms_give_exactly_mirrored_ratios() -> None:
    """With both arms exchanged and each coin turned over, the machine sees the same visits, and each ratio its inverse."""
    clock = ScriptedClock()
    one, two = ScriptedArm("baseline", noisy(1.0), clock, POINTS), ScriptedArm("candidate", noisy(0.8), clock, POINTS)
    straight = [take_pair(one, two, PLAN, seed=1, comparison="c", index=n, cores=2, sleep=clock.sleep) for n in range(30)]
    clock = ScriptedClock()
    one, two = ScriptedArm("candidate", noisy(1.0), clock, POINTS), ScriptedArm("baseline", noisy(0.8), clock, POINTS)
    fair = coin

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("strop.measure.collect.coin", lambda seed, comparison, index: not fair(seed, comparison, index))
        mirrored = [take_pair(two, one, PLAN, seed=1, comparison="c", index=n, cores=2, sleep=clock.sleep) for n in range(30)]
    for point in POINTS:
        assert [log_ratio(pair, point) for pair in mirrored] == [-log_ratio(pair, point) for pair in straight]


def test_a_known_ratio_comes_out_exactly_without_drift() -> None:
    baseline, candidate, clock = arms(1.0, 0.5, clock_matters=False)
    pair = take_pair(baseline, candidate, PLAN, seed=1, comparison="c", index=0, cores=2, sleep=clock.sleep)
    assert all(log_ratio(pair, point) == pytest.approx(-math.log(2), abs=1e-12) for point in POINTS)


def test_the_pause_before_a_pair_is_random_and_bounded() -> None:
    baseline, candidate, _ = arms()
    waits: list[float] = []
    for n in range(50):
        take_pair(baseline, candidate, PLAN, seed=1, comparison="c", index=n, cores=2, pause=0.02, sleep=waits.append)
    assert len(set(waits)) == 50
    assert 0 <= min(waits) < 0.004
    assert 0.016 < max(waits) <= 0.02


def test_a_disturbed_pair_is_voided_whatever_it_measured() -> None:
    clock = ScriptedClock()
    quiet, loud = Counters(wall_ns=60 * MS), Counters(wall_ns=60 * MS, foreign_cpu_ns=100 * MS)
    reasons = []
    for scale in (0.1, 10.0):
        one = ScriptedArm("baseline", noisy(1.0), clock, POINTS, quiet)
        two = ScriptedArm("candidate", noisy(scale), clock, POINTS, loud)
        reasons.append(take_pair(one, two, PLAN, seed=1, comparison="c", index=0, cores=2, sleep=clock.sleep).voided)
    assert reasons[0] is not None
    assert reasons[0].startswith("candidate")
    assert reasons[0] == reasons[1]
    calm = ScriptedArm("candidate", noisy(1.0), clock, POINTS, quiet)
    assert take_pair(one, calm, PLAN, seed=1, comparison="c", index=0, cores=2, sleep=clock.sleep).voided is None


def test_a_profile_counts_the_slow_calls_after_a_switch() -> None:
    visit = [150, 120, 101, 100, 100, 99]
    assert read_profile([[150], *[[v * MS // 100 for v in visit]] * 4]) == PointProfile(call_seconds=0.001, discards=2)
    assert read_profile([[MS], *[[MS] * 6] * 4]).discards == 1, "a short call is discarded once at least"
    assert read_profile([[MS], *[[2 * MS, 2 * MS, 2 * MS, MS, MS, MS]] * 4]).discards == 3
    falling = [[round(MS * 2.0**-n) for n in range(6)]] * 4
    assert read_profile([[MS], *falling]).discards <= 5


def test_discards_take_at_most_a_tenth_of_a_second() -> None:
    slow = [90 * MS, 90 * MS, 90 * MS, 60 * MS, 60 * MS, 60 * MS]
    assert read_profile([[90 * MS], slow, slow]).discards == 1


def test_a_long_call_is_not_discarded_nor_visited_again() -> None:
    clock = ScriptedClock()
    arm = ScriptedArm("baseline", lambda point, index, now: 300 * MS, clock, {"p": 4})
    assert profile(arm) == {"p": PointProfile(call_seconds=0.3, discards=0)}
    assert len(arm.visits) == 1


def test_a_profile_lets_the_rival_run_in_between_and_repeats_one_input_per_visit() -> None:
    clock = ScriptedClock()
    arm = ScriptedArm("baseline", lambda point, index, now: (1 + index) * MS, clock, {"p": 16})
    rival = ScriptedArm("candidate", lambda point, index, now: MS, clock, {"p": 16})
    assert profile(arm, ["p"], rival=rival)["p"].discards == 1
    assert all(len(set(inputs)) == 1 for _, inputs, _ in arm.visits)
    assert len({inputs[0] for _, inputs, _ in arm.visits}) == len(arm.visits) == len(rival.visits) == 5
    assert arm.parked
    assert rival.parked


@pytest.mark.parametrize(
    ("one", "other", "timed"),
    [(0.010, 0.010, 5), (0.001, 0.0001, 159), (0.05, 0.05, 3), (0.1, 0.1, 2), (0.2, 0.02, 3), (0.2, 0.4, 1), (1e-7, 1e-7, 5000)],
)
def test_calls_per_visit_follow_the_geometric_mean(one: float, other: float, timed: int) -> None:
    plan = block_plan({"p": PointProfile(call_seconds=one, discards=1)}, {"p": PointProfile(call_seconds=other, discards=3)})
    assert plan.points["p"] == PointPlan(discards=3 if math.sqrt(one * other) < LONG_CALL else 0, timed=timed)
    assert plan.pair_seconds == pytest.approx((plan.points["p"].discards + timed) * (one + other))


def test_a_plan_favours_neither_arm() -> None:
    one, other = {"p": PointProfile(call_seconds=0.004, discards=2)}, {"p": PointProfile(call_seconds=0.001, discards=1)}
    assert block_plan(one, other) == block_plan(other, one)


def test_arms_with_different_points_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="different operating points"):
        block_plan({"a": PointProfile(call_seconds=1, discards=0)}, {"b": PointProfile(call_seconds=1, discards=0)})


def test_a_plan_survives_json() -> None:
    assert BlockPlan.from_json(PLAN.to_json()) == PLAN


def test_a_pair_survives_json() -> None:
    pair = pairs(1)[0]
    assert Pair.from_json(pair.to_json()) == pair
    assert all(isinstance(block, Block) for block in pair.blocks)
