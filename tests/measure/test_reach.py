"""When a training reaches a target, and how many times sooner, on planted looks."""

from __future__ import annotations

import math

import pytest

from strop.measure.reach import Look, Reached, reached, times_sooner


def course(seconds_per_step: float, *values: float, loss: bool = False) -> list[Look]:
    """A look each ten steps."""
    return [
        Look(step=10 * n, seconds=10 * n * seconds_per_step, loss=value if loss else 9.0, metric=None if loss else value)
        for n, value in enumerate(values, 1)
    ]


def test_the_first_look_that_is_good_enough_counts_in_both_arms() -> None:
    plain, quick = course(1.0, 0.7, 0.91, 0.85, 0.90), course(0.5, 0.6, 0.7, 0.95, 0.6)
    found = reached(plain, quick, margin=0.0, higher_is_better=True)
    assert (found.target, found.baseline.step) == (0.90, 20)  # which was there before its end
    assert found.candidate is not None and (found.candidate.step, found.candidate.seconds) == (30, 15.0)


def test_the_allowed_loss_lowers_the_bar_and_a_lower_metric_can_be_better() -> None:
    plain, quick = course(1.0, 0.7, 0.8, 0.90), course(0.5, 0.6, 0.89, 0.89)
    assert reached(plain, quick, margin=0.0, higher_is_better=True).candidate is None
    within = reached(plain, quick, margin=0.02, higher_is_better=True)
    assert within.target == pytest.approx(0.88) and within.candidate is not None and within.candidate.step == 20
    errors = reached(course(1.0, 0.5, 0.2), course(1.0, 0.21, 0.1), margin=0.02, higher_is_better=False)
    assert errors.target == pytest.approx(0.22) and errors.candidate is not None and errors.candidate.step == 10


def test_without_a_metric_the_loss_must_be_reached_in_full() -> None:
    plain, quick = course(1.0, 2.0, 1.0, loss=True), course(0.5, 1.01, 0.9, loss=True)
    found = reached(plain, quick, margin=5.0, higher_is_better=True)
    assert found.target == 1.0 and found.candidate is not None and found.candidate.step == 20


def pair(baseline: float, candidate: float | None) -> Reached:
    there = Look(step=1, seconds=candidate, loss=0.0) if candidate else None
    return Reached(target=0.9, baseline=Look(step=1, seconds=baseline, loss=0.0), candidate=there)


def test_times_sooner_is_the_geometric_mean_with_students_interval() -> None:
    found = times_sooner([pair(8.0, 2.0), pair(9.0, 1.0), pair(6.0, 1.0)])
    assert found is not None and found.confidence == 0.95
    assert found.estimate == pytest.approx(216 ** (1 / 3))
    logs = [math.log(4), math.log(9), math.log(6)]
    mean = sum(logs) / 3
    half = 4.302653 * math.sqrt(sum((v - mean) ** 2 for v in logs) / 2) / math.sqrt(3)  # t of 2 degrees of freedom, from a table
    assert (found.low, found.high) == (pytest.approx(math.exp(mean - half)), pytest.approx(math.exp(mean + half)))


@pytest.mark.parametrize("seeds", [[pair(8.0, 2.0), pair(9.0, None), pair(6.0, 1.0)], [pair(8.0, 2.0)], []])
def test_seeds_that_never_get_there_are_not_left_out_of_a_mean(seeds: list[Reached]) -> None:
    assert times_sooner(seeds) is None


def test_a_look_survives_json() -> None:
    look = Look(step=3, seconds=1.5, loss=0.25, metric=0.9)
    assert Look.from_json(look.to_json()) == look
