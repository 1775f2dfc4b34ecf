"""The e-process: its formula, its martingale property, its stopping rule and its interval."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.measure.plan import ScreenPlan
from strop.measure.ratios import FloatArray
from strop.measure.result import Verdict
from strop.measure.sequential import ANYTHING, CLIP, decide, evidence, interval, log_evidence, scales, trend

PLAN = ScreenPlan()
EDGE = math.log(1.02)


def slow_scales(y: FloatArray, planned: float) -> FloatArray:
    out = []
    for i in range(len(y)):
        past = y[:i]
        mad = 1.4826 * np.median(np.abs(past - np.median(past))) if i >= 3 else planned
        k = min(i, 8)
        out.append(max(0.002, (mad * k + planned * (8 - k)) / 8))
    return np.array(out)


def slow_log_e(y: FloatArray, theta0: float, planned: float) -> FloatArray:
    grid, out = (0.25, 0.5, 1.0, 2.0), []
    totals = [0.0] * 4
    for yi, s in zip(y, slow_scales(y, planned), strict=True):
        psi = min(max((yi - theta0) / s, -3.0), 3.0)
        totals = [total + math.log(math.exp(-bet * psi) / math.cosh(bet * psi)) for total, bet in zip(totals, grid, strict=True)]
        out.append(math.log(sum(map(math.exp, totals)) / 4))
    return np.array(out)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
@settings(deadline=None)
def test_fast_paths_equal_the_formula(values: list[float]) -> None:
    y = np.array(values)
    assert scales(y, 0.03) == pytest.approx(slow_scales(y, 0.03), abs=1e-12)
    assert log_evidence(y, scales(y, 0.03), -EDGE) == pytest.approx(slow_log_e(y, -EDGE, 0.03), abs=1e-9)
    assert log_evidence(y, scales(y, 0.03), EDGE, above=True) == pytest.approx(slow_log_e(-y, -EDGE, 0.03), abs=1e-9)


@pytest.mark.parametrize("above", [False, True])
def test_mean_evidence_is_exactly_one_over_all_coins(above: bool) -> None:
    """The design promise, without sampling: over all 2^n coin patterns of *any* noise, E averages to 1 at the edge."""
    noise = np.array([0.001, 0.9, 0.02, 0.02, 3.0, 0.004, 0.05, 0.3, 0.01])
    signs = np.array(list(itertools.product((-1, 1), repeat=len(noise))))
    y = EDGE + signs * noise
    values = np.exp(log_evidence(y, scales(y, 0.03), EDGE, above=above))
    assert values.mean(axis=0) == pytest.approx(np.ones(len(noise)), abs=1e-9)


def test_evidence_never_grows_on_average_beyond_the_edge() -> None:
    noise = np.array([0.01, 0.03, 0.02, 0.2, 0.005, 0.01, 0.02, 0.03])
    signs = np.array(list(itertools.product((-1, 1), repeat=len(noise))))
    for truth in (0.0, 0.01, 0.3):
        y = truth + signs * noise
        assert np.exp(log_evidence(y, scales(y, 0.03), -EDGE)).mean(axis=0).max() <= 1 + 1e-9


def test_scales_look_at_the_past_only() -> None:
    y = np.random.default_rng(0).normal(0, 0.03, 20)
    changed = y.copy()
    changed[12:] = 9.0
    assert np.array_equal(scales(y, 0.03)[:13], scales(changed, 0.03)[:13])


def test_one_spike_costs_little_because_it_is_clipped() -> None:
    y = np.full(12, -0.1)
    spiked = y.copy()
    spiked[6] = 2.0
    clipped = log_evidence(spiked, scales(y, 0.03), -EDGE)[-1]
    assert clipped > math.log(20)
    assert log_evidence(spiked, scales(y, 0.03), -EDGE, clip=math.inf)[-1] < 0 < CLIP


def test_large_effects_stop_after_the_fewest_pairs() -> None:
    for theta, verdict in ((-0.5, Verdict.FASTER), (0.5, Verdict.SLOWER)):
        decision = decide(np.full(40, theta), PLAN)
        assert decision is not None
        assert (decision.verdict, decision.pairs) == (verdict, 6)


def test_no_effect_is_called_no_gain_and_a_small_loss_is_not_called_slower() -> None:
    tiny = np.tile([0.004, -0.004, 0.002, -0.003], 10)
    decision = decide(tiny, PLAN)
    assert decision is not None
    assert decision.verdict is Verdict.NO_GAIN
    lossy = decide(tiny + 0.012, PLAN)
    assert lossy is not None
    assert lossy.verdict is Verdict.NO_GAIN


def test_a_regression_is_named_although_no_gain_is_proven_sooner() -> None:
    y = 0.06 + np.tile([0.03, -0.03, 0.01, -0.02], 10)
    logs = evidence(y, PLAN)
    futile = int(np.argmax(logs[:, 2] >= math.log(10))) + 1
    decision = decide(y, PLAN)
    assert decision is not None
    assert decision.verdict is Verdict.SLOWER
    assert decision.pairs > futile


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=40), st.integers(1, 40))
@settings(deadline=None)
def test_a_decision_depends_on_its_prefix_only(values: list[float], cut: int) -> None:
    y = np.array(values)
    whole, part = decide(y, PLAN), decide(y[:cut], PLAN)
    if part is not None:
        assert whole == part
    elif whole is not None:
        assert whole.pairs > cut


def test_the_cap_ends_the_comparison() -> None:
    y = np.concatenate([np.tile([0.09, -0.13], 20), np.full(40, -0.5)])
    assert decide(y, PLAN) is None
    assert decide(y, ScreenPlan(max_pairs=80)) is not None


def test_a_veto_lets_the_comparison_go_on() -> None:
    y = np.full(40, -0.2)
    seen: list[int] = []

    def agree(pairs: int, verdict: Verdict) -> bool:
        seen.append(pairs)
        return pairs >= 9

    decision = decide(y, PLAN, agree=agree)
    assert decision is not None
    assert decision.pairs == 9
    assert seen == [6, 7, 8, 9]


def test_warm_up_in_the_first_third_is_set_aside() -> None:
    y = np.concatenate([np.linspace(-0.9, -0.3, 6), -0.2 + np.tile([0.001, -0.001], 20)])
    assert trend(y[:6], 0.02) is not None
    decision = decide(y, PLAN)
    assert decision is not None
    assert decision.start >= 2
    assert decision.trend is not None


def test_a_trend_that_stays_forbids_faster() -> None:
    decision = decide(np.linspace(-0.1, -0.9, 40), PLAN)
    assert decision is not None
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.trend is not None


def test_faster_after_a_trend_needs_the_evidence_of_all_pairs() -> None:
    """What is set aside is chosen after seeing the data, so the remainder alone must not carry the error bound."""
    generator, seen = np.random.default_rng(7), 0
    for _ in range(400):
        warm = np.linspace(generator.uniform(0.1, 0.4), 0.0, 8) + generator.normal(0, 0.01, 8)
        y = np.concatenate([warm, generator.normal(-0.08, 0.02, 32)])
        decision = decide(y, PLAN)
        if decision is not None and decision.verdict is Verdict.FASTER and decision.start:
            seen += 1
            assert evidence(y, PLAN)[: decision.pairs, 0].max() >= math.log(20)
    assert seen >= 10


def test_noise_without_a_trend_is_rarely_taken_for_one() -> None:
    generator = np.random.default_rng(3)
    alarms = sum(trend(generator.normal(0, 0.03, 12), 0.02) is not None for _ in range(2000))
    assert alarms < 60


def test_a_step_between_first_and_last_third_is_a_trend() -> None:
    noise = np.tile([0.001, -0.001, 0.0, 0.001], 6)
    assert trend(noise, 0.02) is None
    assert "differs from the first" in str(trend(noise + np.repeat([0.0, -0.3, 0.1], 8), 0.02))


def test_a_steady_creep_too_small_to_matter_is_no_trend() -> None:
    creep = np.linspace(-0.2, -0.2005, 20)
    assert trend(creep, 0.02) is None
    assert trend(creep, 0.0) is not None
    assert trend(np.full(20, -0.2), 0.0) is None


def test_the_interval_is_where_the_evidence_says_so() -> None:
    y = -0.1 + np.random.default_rng(5).normal(0, 0.02, 20)
    low, high = interval(y, PLAN)
    scale, bar = scales(y, PLAN.spread), math.log(2 / PLAN.alpha)
    assert low < -0.1 < high
    for end, above in ((low, True), (high, False)):
        outward = -1e-4 if above else 1e-4
        assert log_evidence(y, scale, end + outward, above=above)[-1] >= bar
        assert log_evidence(y, scale, end - outward, above=above)[-1] < bar


def test_too_few_pairs_exclude_nothing() -> None:
    assert interval(np.full(4, -0.3), PLAN) == (-ANYTHING, ANYTHING)
    assert interval(np.zeros(0), PLAN) == (-ANYTHING, ANYTHING)
    assert max(map(abs, interval(np.full(6, -0.3), PLAN))) < 1


def test_swapping_the_arms_mirrors_the_interval() -> None:
    y = np.random.default_rng(6).normal(-0.05, 0.03, 25)
    low, high = interval(y, PLAN)
    mirrored = interval(-y, PLAN)
    assert mirrored == pytest.approx((-high, -low), abs=1e-5)
