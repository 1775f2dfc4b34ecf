"""Giving up early: only on what is surely worse, and rarely on what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strop.measure.futility import hopeless, looks


def test_looks_double() -> None:
    assert looks(1000) == (64, 128, 256, 512)
    assert looks(64) == ()


def test_a_candidate_that_is_plainly_worse_is_hopeless() -> None:
    right = np.ones(64)
    wrong = np.where(np.arange(64) < 20, 0.0, 1.0)
    assert hopeless(right, wrong, 0.01)
    assert not hopeless(wrong, right, 0.01)
    assert not hopeless(right, right, 0.01)
    assert not hopeless(right, wrong, 0.5)


def test_fewer_than_64_examples_are_never_hopeless() -> None:
    assert not hopeless(np.ones(63), np.zeros(63), 0.01)


def test_broken_answers_are_hopeless() -> None:
    broken = np.ones(64)
    broken[3] = math.nan
    assert hopeless(np.ones(64), broken, 0.01)


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_follow_their_direction(sign: int) -> None:
    baseline = np.random.default_rng(0).normal(0, 0.2, 128)
    assert hopeless(sign * baseline, sign * (baseline - 0.5), 0.1, higher_is_better=sign > 0)
    assert not hopeless(sign * baseline, sign * (baseline + 0.5), 0.1, higher_is_better=sign > 0)


def test_an_equal_candidate_is_rarely_given_up_over_all_looks() -> None:
    generator = np.random.default_rng(1)
    given_up = 0
    for _ in range(500):
        draw = generator.random(1024)
        baseline, candidate = (draw > 0.02).astype(float), ((draw < 0.02) | (draw > 0.04)).astype(float)
        given_up += any(hopeless(baseline[:n], candidate[:n], 0.01) for n in looks(1024))
    assert given_up <= 10
