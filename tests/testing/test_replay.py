"""The proof of the measuring: error rates, power and coverage over all noise, and mutations that each must break.

Every trial goes through the functions that judge real measurements. Limits are those of 1,000 trials: 10 false
"faster" where nothing changed, 63 where the truth lies exactly on the edge of the claim (a 5 % level, 95 % certainty).
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from strop.errors import UsageError
from strop.measure import sequential
from strop.measure.confirm import FAR_ROUND, proven_by
from strop.measure.judge import Screen, judge_confirm
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.proportions import upper_share
from strop.measure.ratios import FloatArray, huber
from strop.measure.result import Verdict
from strop.measure.sequential import interval
from strop.testing.noise import Family, families
from strop.testing.replay import (
    TRACE_COLUMNS,
    Source,
    as_pairs,
    confirm_rows,
    confirm_trials,
    count,
    draw,
    load_trace,
    pipeline_trials,
    ratios,
    screen_rows,
    screen_trials,
)

SCREEN, CLAIM = ScreenPlan(), ConfirmPlan()
TRIALS = 1000
AA_LIMIT, EDGE_LIMIT = 10, 63
EDGE = -math.log(1.02)
FAMILIES = {family.name: family for family in families()}
TRACES = sorted((Path(__file__).parents[1] / "data" / "traces").glob("*.npz"))
every_family = pytest.mark.parametrize("family", families(), ids=list(FAMILIES))
every_trace = pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)


def claims(source: Source, theta: float, seed: int = 1, plan: ConfirmPlan = CLAIM) -> int:
    """Return how many of the trials confirm FASTER."""
    return count([proven_by(found, plan) for found in confirm_trials(source, plan, theta, TRIALS, seed)])


def screened(source: Source, theta: float, wanted: Verdict = Verdict.FASTER, seed: int = 2) -> int:
    return count([decision.verdict for decision in screen_trials(source, SCREEN, theta, TRIALS, seed)], wanted)


@every_family
def test_nothing_changed_is_not_called_faster(family: Family) -> None:
    assert claims(family, 0.0) <= AA_LIMIT
    if family.luck < 0.01:
        assert screened(family, 0.0) <= AA_LIMIT


@every_family
def test_a_gain_exactly_at_the_edge_is_confirmed_within_the_level(family: Family) -> None:
    assert claims(family, EDGE) <= EDGE_LIMIT
    if not family.luck:
        assert screened(family, EDGE) <= EDGE_LIMIT


@every_family
def test_small_rounds_for_large_effects_err_no_more_often(family: Family) -> None:
    found = confirm_trials(family, ConfirmPlan(pairs=FAR_ROUND), EDGE, TRIALS, 7)
    assert count([proven_by(one, CLAIM) for one in found]) <= EDGE_LIMIT


@every_family
def test_fewer_rounds_where_the_time_ends_err_no_more_often(family: Family) -> None:
    found = confirm_trials(family, ConfirmPlan(rounds=3, pairs=FAR_ROUND), EDGE, TRIALS, 8)
    assert count([proven_by(one, CLAIM) for one in found]) <= EDGE_LIMIT


@every_family
def test_the_whole_way_from_screening_to_claim_keeps_the_level(family: Family) -> None:
    confirmed = [verdict for _, verdict in pipeline_trials(family, SCREEN, CLAIM, EDGE, TRIALS, 3)]
    assert sum(verdict is Verdict.FASTER for verdict in confirmed) <= EDGE_LIMIT


@every_family
def test_true_gains_are_confirmed(family: Family) -> None:
    assert claims(family, -math.log(1.05)) >= 0.80 * TRIALS
    assert claims(family, -math.log(1.10)) >= 0.95 * TRIALS


@every_family
def test_true_gains_survive_screening_after_few_pairs(family: Family) -> None:
    large = screen_trials(family, SCREEN, -math.log(1.10), TRIALS, 4)
    assert count([decision.verdict for decision in large]) >= 0.90 * TRIALS
    assert np.median([decision.pairs for decision in large]) <= 10
    if "periodic" not in family.name and family.luck < 0.01:
        small = screen_trials(family, SCREEN, -math.log(1.05), TRIALS, 5)
        assert count([decision.verdict for decision in small]) >= 0.80 * TRIALS
        assert np.median([decision.pairs for decision in small]) <= 25


@every_family
def test_the_sign_is_never_wrong(family: Family) -> None:
    assert screened(family, -math.log(1.10), Verdict.SLOWER) == 0
    assert screened(family, math.log(1.10), Verdict.FASTER) == 0
    assert claims(family, math.log(1.05)) == 0


@pytest.mark.parametrize("theta", [0.0, *(sign * math.log1p(size) for size in (0.02, 0.05, 0.1, 0.3) for sign in (-1, 1))])
@pytest.mark.parametrize("name", ["white", "spikes", "shared machine", "shared, luck 1 %"])
def test_intervals_cover_the_truth(name: str, theta: float) -> None:
    family = FAMILIES[name]
    found = confirm_trials(family, CLAIM, theta, TRIALS, 6)
    covered = sum(one.speedup.low <= math.exp(-theta) <= one.speedup.high for one in found)
    assert upper_share(covered, TRIALS, 0.025) >= 0.95


@pytest.mark.parametrize("theta", [0.0, EDGE, -math.log(1.1), math.log(1.3)])
@pytest.mark.parametrize("name", ["white", "bursts", "spikes", "shared machine"])
def test_screening_intervals_cover_the_truth_wherever_the_screening_stopped(name: str, theta: float) -> None:
    y = ratios(FAMILIES[name], np.random.default_rng(7), 200, SCREEN.max_pairs, theta)
    ends = [interval(row[: decision.pairs], SCREEN) for row, decision in zip(y, screen_rows(y, SCREEN), strict=True)]
    covered = sum(low <= theta <= high for low, high in ends)
    assert upper_share(covered, 200, 0.025) >= 0.95


@every_trace
@pytest.mark.parametrize(("group", "voiding"), [(1, False), (5, False), (5, True)])
def test_recorded_noise_keeps_the_same_limits(trace: Path, group: int, voiding: bool) -> None:
    source = load_trace(trace, group=group, voiding=voiding)
    assert claims(source, 0.0) <= AA_LIMIT
    assert claims(source, EDGE) <= EDGE_LIMIT
    confirmed = [verdict for _, verdict in pipeline_trials(source, SCREEN, CLAIM, EDGE, TRIALS, 8)]
    assert sum(verdict is Verdict.FASTER for verdict in confirmed) <= EDGE_LIMIT
    assert claims(source, math.log(1.05)) <= AA_LIMIT


@every_trace
def test_true_gains_are_confirmed_on_recorded_noise_once_disturbed_pairs_are_voided(trace: Path) -> None:
    source = load_trace(trace, group=5, voiding=True)
    assert claims(source, -math.log(1.05)) >= 0.80 * TRIALS
    assert claims(source, -math.log(1.10)) >= 0.95 * TRIALS


@every_trace
def test_recorded_noise_is_long_small_and_says_what_it_is(trace: Path) -> None:
    source = load_trace(trace)
    assert len(np.load(trace)["wall_us"]) >= 20_000
    assert trace.stat().st_size <= 400_000
    assert {"workload", "condition", "calls_per_block", "cores"} <= set(source.meta)


def test_there_is_a_trace_to_replay() -> None:
    assert TRACES


@pytest.mark.parametrize("name", ["white", "bursts", "warm-up"])
def test_trials_go_through_the_judges_of_real_measurements(name: str) -> None:
    """The fast path of the replay and the judges of recorded pairs give the same verdicts."""
    generator = np.random.default_rng(9)
    for theta in (0.0, -0.06, 0.06):
        baseline, candidate = draw(FAMILIES[name], generator, 5, 40, theta)
        fast = screen_rows(candidate - baseline, SCREEN)
        for row, decision in enumerate(fast):
            screen = Screen(SCREEN, ["only"])
            for pair in as_pairs(baseline[row : row + 1], candidate[row : row + 1]):
                if screen.add(pair):
                    break
            found = screen.comparisons()["all"]
            assert (found.verdict, found.pairs + decision.start) == (decision.verdict, decision.pairs)
        plan = ConfirmPlan(pairs=40)
        judged = judge_confirm(as_pairs(baseline, candidate), plan, ["only"])["all"]
        (expected,) = confirm_rows((candidate - baseline)[None], plan)
        assert judged.speedup.estimate == pytest.approx(expected.speedup.estimate, rel=1e-6)
        assert judged.verdict is proven_by(expected, plan)


def test_a_trace_must_be_one(tmp_path: Path) -> None:
    for name, content in (("text.npz", b"no"), ("gone.npz", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match="is not a noise trace"):
            load_trace(tmp_path / name)


def small_trace(path: Path, wall: NDArray[np.int64], starts: list[int], **others: NDArray[np.int64]) -> Path:
    columns = {"wall_us": wall, "own_us": 2 * wall, **dict.fromkeys(TRACE_COLUMNS[2:], 0 * wall), **others}
    meta = np.array(json.dumps({"cores": 2, "tick_us": 10_000}))
    np.savez(path, starts=np.array(starts), meta=meta, **{name: column.astype(np.int32) for name, column in columns.items()})
    return path


def test_windows_never_cross_an_interruption(tmp_path: Path) -> None:
    wall = np.concatenate([np.full(30, 1000), np.full(50, 9000)])
    trace = load_trace(small_trace(tmp_path / "two.npz", wall, [0, 30]))
    rows = trace.slots(np.random.default_rng(0), 200, 20)
    assert (rows == rows[:, :1]).all()
    assert 0.15 < (rows[:, 0] < math.log(2000)).mean() < 0.4
    with pytest.raises(UsageError, match="50 consecutive blocks; 60 are needed"):
        trace.slots(np.random.default_rng(0), 1, 60)


def test_grouping_takes_the_median_of_neighbours(tmp_path: Path) -> None:
    trace = load_trace(small_trace(tmp_path / "g.npz", np.array([1, 5, 900, 2, 2, 2, 7]), [0]), group=3)
    assert np.exp(trace.stretches[0]) == pytest.approx([5, 2])


def test_voiding_takes_out_whole_pairs_and_looks_at_counters_only(tmp_path: Path) -> None:
    wall = np.arange(1, 13) * 100_000
    busy, faults = np.zeros(12, dtype=np.int64), np.zeros(12, dtype=np.int64)
    own = np.zeros(12, dtype=np.int64)
    busy[3], faults[8] = 20, 1
    path = small_trace(tmp_path / "v.npz", wall, [0], own_us=own, busy_ticks=busy, major_faults=faults)
    kept = load_trace(path, voiding=True)
    assert np.exp(kept.stretches[0]) / 100_000 == pytest.approx([1, 2, 5, 6, 7, 8, 11, 12])
    firsts = kept.slots(np.random.default_rng(0), 100, 4)[:, 0]
    assert set(np.round(np.exp(firsts) / 100_000)) == {1, 5, 7}
    assert len(load_trace(path).stretches[0]) == 12
    spiked = small_trace(tmp_path / "s.npz", wall * np.where(np.arange(12) == 5, 1000, 1), [0])
    assert len(load_trace(spiked, voiding=True).stretches[0]) == 12


# Mutations: each takes one safeguard away and shows that the limits above notice.


def alternate(generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.broadcast_to(np.arange(shape[1]) % 2 == 0, shape)


def fixed(generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.zeros(shape, dtype=bool)


def in_step(generator: np.random.Generator, rows: int, count: int) -> FloatArray:
    """A neighbour whose work returns every other pair, always at the same place."""
    return 0.04 * np.cos(np.pi * np.arange(count) / 2) + generator.normal(0, 0.02, (rows, count))


def test_alternation_instead_of_a_coin_is_caught() -> None:
    family = Family(name="in step", slots=in_step)
    wrong = confirm_trials(family, CLAIM, EDGE, TRIALS, 1, lambda g, shape: ~alternate(g, shape))
    assert count([proven_by(one, CLAIM) for one in wrong]) > EDGE_LIMIT
    assert claims(family, EDGE) <= EDGE_LIMIT


def test_a_fixed_order_instead_of_a_coin_is_caught() -> None:
    found = confirm_trials(FAMILIES["warm-up"], CLAIM, EDGE, TRIALS, 1, fixed)
    assert count([proven_by(one, CLAIM) for one in found]) > EDGE_LIMIT


def test_evidence_without_a_clip_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "log_evidence", functools.partial(sequential.log_evidence, clip=math.inf))
    assert screened(FAMILIES["spikes"], -math.log(1.10), seed=4) < 0.90 * TRIALS


def test_screening_data_reused_for_confirmation_is_caught() -> None:
    """Of ten candidates at the edge the luckiest is confirmed: on its own screening data, and on fresh data."""
    plan, family, generator = ConfirmPlan(pairs=8), FAMILIES["shared machine"], np.random.default_rng(10)
    y = ratios(family, generator, TRIALS * 10, 40, EDGE).reshape(TRIALS, 10, 40)
    luckiest = y[np.arange(TRIALS), huber(y)[0].argmin(axis=1)]
    reused = count([proven_by(one, plan) for one in confirm_rows(luckiest.reshape(TRIALS, 5, 8), plan)])
    assert reused > EDGE_LIMIT
    assert claims(family, EDGE, seed=11, plan=plan) <= EDGE_LIMIT


def test_rounds_pooled_as_if_independent_are_caught() -> None:
    y = ratios(FAMILIES["shared, luck 1 %"], np.random.default_rng(12), TRIALS * 5, 16, EDGE).reshape(TRIALS, 80)
    mean, error = huber(y)
    pooled = int((mean + special.stdtrit(79, 0.95) * error < EDGE).sum())
    assert pooled > EDGE_LIMIT


def peeking_t(y: FloatArray) -> bool:
    """Return whether a t-test that looks after every pair calls one of the looks significant."""
    counts = np.arange(1, len(y) + 1)
    mean = np.cumsum(y) / counts
    deviation = np.sqrt(np.maximum(np.cumsum(y**2) / counts - mean**2, 1e-12) * counts / np.maximum(counts - 1, 1))
    upper = mean + special.stdtrit(np.maximum(counts - 1, 1), 0.95) * deviation / np.sqrt(counts)
    return bool((upper[5:] < EDGE).any())


def test_looking_often_with_a_test_made_for_one_look_is_caught() -> None:
    y = ratios(FAMILIES["white"], np.random.default_rng(13), TRIALS, 40, EDGE)
    assert sum(map(peeking_t, y)) > EDGE_LIMIT
    assert count([decision.verdict for decision in screen_rows(y, SCREEN)]) <= EDGE_LIMIT
