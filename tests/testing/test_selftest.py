"""The self-test: what it counts, when it passes, and that it really runs processes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from strop.errors import UsageError
from strop.measure.plan import ScreenPlan
from strop.measure.result import Verdict
from strop.observe import Event
from strop.testing.selftest import CYCLE, UNITS, SelfTestReport, Trial, live_trial, selftest, summarise

Judge = Callable[[float, bool, int], Verdict]


def fake(judge: Judge, calls: list[tuple[float, bool, int]] | None = None):  # type: ignore[no-untyped-def]
    """A stand-in for a live trial whose verdict follows ``judge(plant, in_baseline, number)``."""
    seen = calls if calls is not None else []

    def run(plant: float, in_baseline: bool, plan: ScreenPlan, seed: int, folder: Path) -> Trial:
        seen.append((plant, in_baseline, seed))
        truth = 1 + plant if in_baseline else 1 / (1 + plant)
        verdict = judge(plant, in_baseline, len(seen))
        return Trial(plant=plant, in_baseline=in_baseline, verdict=verdict, speedup=truth * 1.01, pairs=10, voided=1, seconds=0.1)

    return run


def honest(plant: float, in_baseline: bool, number: int) -> Verdict:
    if plant == 0:
        return Verdict.NO_GAIN
    return Verdict.FASTER if in_baseline else Verdict.SLOWER


def run(judge: Judge, trials: int = 200) -> SelfTestReport:
    return selftest(trials, 60.0, run_trial=fake(judge))


def test_an_honest_instrument_passes() -> None:
    report = run(honest)
    assert report.sound
    assert report.proven
    assert report.false_faster == 0
    assert report.false_rate[1] < 0.05
    assert report.trials == 200
    assert report.void_share == pytest.approx(0.1)
    equal, five, ten = report.plants
    assert (equal.trials, five.trials, ten.trials) == (120, 40, 40)
    assert (equal.right, five.right, ten.right) == (120, 40, 40)
    assert five.bias == pytest.approx(0.01)
    assert ten.pairs == 10


def test_an_instrument_that_sees_gains_everywhere_fails() -> None:
    report = run(lambda *_: Verdict.FASTER)
    assert not report.sound
    assert not report.proven
    assert report.false_faster == 120
    assert report.plants[0].wrong == 120


@pytest.mark.parametrize(("every", "sound", "proven"), [(1000, True, True), (50, True, False), (4, False, False)])
def test_the_bar_is_the_clopper_pearson_interval(every: int, sound: bool, proven: bool) -> None:
    def sometimes(plant: float, in_baseline: bool, number: int) -> Verdict:
        return Verdict.FASTER if plant == 0 and number % every == 3 else honest(plant, in_baseline, number)

    report = run(sometimes)
    assert (report.sound, report.proven) == (sound, proven)


def test_verdicts_in_the_wrong_direction_fail() -> None:
    def backwards(plant: float, in_baseline: bool, number: int) -> Verdict:
        return honest(plant, in_baseline != (plant > 0), number)

    report = run(backwards)
    assert report.false_faster == 0
    assert not report.sound
    assert report.plants[2].wrong == 40
    assert report.plants[2].faster_without_cause > 0


def test_undecided_is_neither_right_nor_wrong() -> None:
    report = run(lambda *_: Verdict.UNDECIDED)
    assert report.sound
    assert [plant.right for plant in report.plants] == [120, 0, 0]
    assert [plant.wrong for plant in report.plants] == [0, 0, 0]


def test_few_trials_are_sound_but_prove_nothing() -> None:
    report = run(honest, trials=5)
    assert report.sound
    assert not report.proven
    assert not summarise([], asked=5, plan=ScreenPlan(), seconds=0.0).sound


def test_the_time_is_kept() -> None:
    report = selftest(200, 1e-9, run_trial=fake(honest))
    assert report.trials <= 1
    assert report.asked == 200


def test_the_same_seed_plans_the_same_trials_and_both_sides_get_plants() -> None:
    calls: list[list[tuple[float, bool, int]]] = [[], [], []]
    for seen, seed in zip(calls, (1, 1, 2), strict=True):
        selftest(60, 60.0, seed=seed, run_trial=fake(honest, seen))
    assert calls[0] == calls[1] != calls[2]
    assert [plant for plant, _, _ in calls[0][:5]] == list(CYCLE)
    assert {side for plant, side, _ in calls[0] if plant > 0} == {True, False}
    assert len({seed for _, _, seed in calls[0]}) == 60


def test_observers_hear_of_every_trial() -> None:
    events: list[Event] = []
    selftest(5, 60.0, events.append, run_trial=fake(honest))
    assert [event.data["number"] for event in events] == [0, 1, 2, 3, 4]


def test_too_few_trials_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 5 trials"):
        selftest(4)


def test_plants_are_whole_units() -> None:
    assert all((UNITS * plant) % 1 == 0 for plant in CYCLE)


def test_a_report_is_json() -> None:
    row = run(honest, trials=5).to_json()
    assert row["sound"] is True
    assert row["proven"] is False
    assert len(row["plants"]) == 3


def test_a_live_trial_runs_processes_and_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine does meanwhile, a doubled amount of work is found: load is taken out of the voiding here."""
    monkeypatch.setattr("strop.measure.collect.blocks_void_reason", lambda blocks, cores: None)
    trial = live_trial(1.0, True, ScreenPlan(max_pairs=80), 7, tmp_path)
    assert trial.verdict is Verdict.FASTER
    assert trial.truth == 2.0
    assert trial.speedup > 1
    assert trial.pairs >= 6
    assert {file.name for file in tmp_path.iterdir()} == {"baseline.log", "candidate.log"}
    assert all(file.read_text() == "" for file in tmp_path.iterdir())
