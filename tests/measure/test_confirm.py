"""Confirmation over rounds: textbook t, its floor, the exact mode, sizes and the repetition's interval."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from strop.errors import MeasureError
from strop.measure.confirm import confirm_size, drift, from_round_values, proven_by, rerun_interval, round_statistics
from strop.measure.plan import ConfirmPlan
from strop.measure.result import Comparison, Interval, Verdict

PLAN = ConfirmPlan()
MEANS = np.array([-0.101, -0.095, -0.110, -0.098, -0.104])
QUIET = np.full(5, 1e-6)


def comparison(theta: float, s: float, rounds: int, phase: str = "confirm") -> Comparison:
    return Comparison(
        point="all",
        phase=phase,
        verdict=Verdict.FASTER,
        speedup=Interval(low=1, estimate=1, high=1, confidence=0.95),
        pairs=80,
        rounds=rounds,
        alpha=0.05,
        delta=0.02,
        evidence={"theta": theta, "s": s},
    )


def test_bounds_are_student_t_over_the_rounds() -> None:
    found = from_round_values(MEANS, QUIET, PLAN)
    reference = stats.ttest_1samp(MEANS, 0.0)
    low, high = reference.confidence_interval(0.95)
    assert (found.speedup.low, found.speedup.high) == pytest.approx((math.exp(-high), math.exp(-low)))
    assert found.speedup.estimate == pytest.approx(math.exp(-MEANS.mean()))
    one_sided = stats.ttest_1samp(MEANS, -math.log(1.02), alternative="less")
    assert found.p == pytest.approx(one_sided.pvalue)
    assert found.upper == pytest.approx(stats.ttest_1samp(MEANS, 0.0, alternative="less").confidence_interval(0.95).high)
    assert proven_by(found, PLAN) is Verdict.FASTER


def test_rounds_that_agree_by_luck_do_not_beat_their_own_error() -> None:
    same = np.full(5, -0.03)
    assert proven_by(from_round_values(same, QUIET, PLAN), PLAN) is Verdict.FASTER
    noisy = from_round_values(same, np.full(5, 0.03), PLAN)
    assert noisy.s == pytest.approx(0.03)
    assert proven_by(noisy, PLAN) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("theta", "verdict"),
    [(-0.1, Verdict.FASTER), (0.1, Verdict.SLOWER), (0.0, Verdict.NO_GAIN), (-math.log(1.02), Verdict.UNDECIDED)],
)
def test_each_verdict(theta: float, verdict: Verdict) -> None:
    found = from_round_values(theta + np.array([-0.002, 0.001, 0.0, 0.002, -0.001]), QUIET, PLAN)
    assert proven_by(found, PLAN) is verdict
    mirror = from_round_values(-theta - np.array([-0.002, 0.001, 0.0, 0.002, -0.001]), QUIET, PLAN)
    assert (verdict is Verdict.FASTER) == (proven_by(mirror, PLAN) is Verdict.SLOWER)


def test_exact_mode_is_the_sign_flip_test() -> None:
    plan = ConfirmPlan(exact=True, delta=0.0, rounds=6)
    values = np.array([-0.05, -0.01, -0.04, 0.02, -0.03, -0.06])
    flips = [np.dot(signs, values) for signs in itertools.product((-1, 1), repeat=6)]
    expected = np.mean([flip <= values.sum() + 1e-12 for flip in flips])
    found = from_round_values(values, QUIET, plan)
    assert found.p == pytest.approx(expected)
    assert (found.upper < 0) == (expected <= 0.05)


def test_exact_bounds_agree_with_exact_p_values() -> None:
    plan = ConfirmPlan(exact=True, rounds=7)
    values = np.random.default_rng(2).normal(-0.03, 0.01, 7)
    found = from_round_values(values, QUIET, plan)
    for edge, rejected in ((found.upper + 1e-6, True), (found.upper - 1e-6, False)):
        shifted = ConfirmPlan(exact=True, rounds=7, delta=math.expm1(-edge))
        assert (from_round_values(values, QUIET, shifted).p <= 0.05) is rejected


def test_exact_interval_states_the_confidence_it_can_reach() -> None:
    found = from_round_values(MEANS, QUIET, ConfirmPlan(exact=True))
    assert found.speedup.confidence == pytest.approx(1 - 2 / 32)
    assert found.upper == pytest.approx(MEANS.max())
    assert proven_by(found, ConfirmPlan(exact=True)) is Verdict.FASTER


def test_exact_mode_covers_lopsided_luck_at_any_shape() -> None:
    """Rounds whose luck is two-valued: the sign-flip bound still errs at most alpha of the time."""
    generator = np.random.default_rng(0)
    plan = ConfirmPlan(exact=True)
    wrong = sum(from_round_values(generator.choice([-0.02, 0.02], 5), QUIET, plan).upper < 0.0 for _ in range(2000))
    assert wrong <= 2000 * 0.05 + 4 * math.sqrt(2000 * 0.05)


@pytest.mark.parametrize(
    ("sigma", "theta", "expected"),
    [
        (0.03, 0.0, 36),
        (0.03, -0.02, 36),
        (0.03, -0.10, 8),
        (0.03, -1.10, 4),
        (0.10, -0.10, 25),
        (0.001, 0.0, 8),
        (0.5, 0.0, 64),
        (0.0, 0.0, 8),
    ],
)
def test_confirm_size(sigma: float, theta: float, expected: int) -> None:
    assert confirm_size(sigma, theta, 0.02) == expected


def test_confirm_size_never_trusts_less_spread_than_the_calibration_saw() -> None:
    assert confirm_size(0.001, 0.0, 0.02, calibrated=0.03) == 36
    assert confirm_size(0.03, 0.0, 0.0) == 64


@pytest.mark.parametrize("rounds", [[], [np.zeros(8)], [np.zeros(8), np.zeros(1)]])
def test_too_little_data_is_an_error_that_counts_it(rounds: list[np.ndarray]) -> None:
    with pytest.raises(MeasureError, match="two rounds of two usable pairs"):
        round_statistics(rounds, PLAN)


@pytest.mark.parametrize("theta", [0.0, -0.1, -2.2])
@pytest.mark.parametrize("s", [0.005, 0.05])
def test_a_repetition_at_another_time_falls_into_its_predicted_interval(theta: float, s: float) -> None:
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(2000):
        old, new = (generator.normal(generator.normal(theta, drift(theta)), s, rounds) for rounds in (5, 3))
        predicted = rerun_interval(comparison(old.mean(), old.std(ddof=1), 5), 3)
        hits += predicted.low <= math.exp(-new.mean()) <= predicted.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_the_original_against_itself_does_not_drift() -> None:
    predicted = rerun_interval(comparison(0.0, 0.01, 5), 3)
    half = stats.t.ppf(0.975, 4) * 0.01 * math.sqrt(1 / 5 + 1 / 3)
    assert (predicted.low, predicted.high) == pytest.approx((math.exp(-half), math.exp(half)))


@pytest.mark.parametrize(("claimed", "repeated"), [(1.05, 1.0), (1.3, 1.2), (3.0, 2.5), (9.0, 7.2)])
def test_a_repetition_that_lost_a_fifth_of_the_gain_or_more_does_not_fall_into_it(claimed: float, repeated: float) -> None:
    predicted = rerun_interval(comparison(-math.log(claimed), 0.02, 5), 5)
    assert repeated < predicted.low < claimed < predicted.high


def test_drift_is_that_of_the_time_saved() -> None:
    """Simulated: of the original's time a part stays as it is, and the part that the recipe saves moves by 5 %."""
    generator = np.random.default_rng(1)
    for kept in (0.1, 0.5, 0.9):
        original = kept + (1 - kept) * generator.normal(1, 0.05, 20_000)
        assert np.log(original / kept).std() == pytest.approx(drift(math.log(kept)), rel=0.05)
    assert drift(0.0) == 0.0
    assert drift(0.7) == drift(-0.7)


def test_screening_numbers_predict_nothing() -> None:
    with pytest.raises(MeasureError, match="only a confirmed comparison"):
        rerun_interval(comparison(-0.1, 0.01, 1, phase="screen"), 5)
