"""The simulator: each family is what it says, and none knows which arm a slot belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from strop.testing.noise import (
    Family,
    autoregressive,
    bursts,
    families,
    linear_drift,
    periodic,
    shared,
    spikes,
    step_drift,
    warm_up,
    white,
)


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_family_repeats_with_its_seed_and_fills_its_shape(family: Family) -> None:
    first, again, other = (family.slots(np.random.default_rng(seed), 7, 33) for seed in (1, 1, 2))
    assert first.shape == (7, 33)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_names_are_distinct_and_luck_is_covered() -> None:
    assert len({family.name for family in families()}) == len(families()) == 12
    assert {family.luck for family in families()} == {0.0, 0.005, 0.01}


def test_white_and_autoregressive_noise_have_their_deviation_and_memory() -> None:
    generator = np.random.default_rng(0)
    assert white(generator, 50, 2000).std() == pytest.approx(0.02, rel=0.02)
    slow = autoregressive(generator, 500, 300)
    assert slow.std() == pytest.approx(np.hypot(0.04, 0.01), rel=0.1)
    assert np.corrcoef(slow[:, 100], slow[:, 101])[0, 1] > 0.85
    assert slow[:, 0].std() == pytest.approx(slow[:, -1].std(), rel=0.15)


def test_bursts_last_and_are_as_high_as_said() -> None:
    rows = bursts(np.random.default_rng(1), 200, 500) > np.log(1.3) / 2
    assert rows.mean() == pytest.approx(0.01 / 0.11, rel=0.15)
    again = (rows[:, 1:] & rows[:, :-1]).sum() / rows[:, :-1].sum()
    assert again == pytest.approx(0.9, abs=0.02)


def test_spikes_are_rare_positive_and_heavy() -> None:
    rows = spikes(np.random.default_rng(2), 200, 500)
    assert (rows > 0.2).mean() == pytest.approx(0.05, abs=0.005)
    assert rows.min() > -0.2
    assert np.exp(rows.max()) > 20


@pytest.mark.parametrize("period", [2, 4])
def test_periodic_noise_comes_back(period: int) -> None:
    rows = periodic(np.random.default_rng(3), 400, 64, period=period)
    means = rows.reshape(400, -1, period).mean(axis=1)
    assert np.abs(means - means.mean(axis=1, keepdims=True)).mean() > 0.01


def test_drifts_drift_and_warm_up_settles() -> None:
    generator = np.random.default_rng(4)
    lines = linear_drift(generator, 300, 80)
    assert (lines[:, -1] - lines[:, 0]).std() == pytest.approx(0.79, rel=0.2)
    steps = step_drift(generator, 300, 80)
    assert (np.abs(steps[:, -1] - steps[:, 0]) > 0.1).mean() > 0.9
    warm = warm_up(generator, 300, 80).mean(axis=0)
    assert warm[0] > 0.35
    assert abs(warm[-1]) < 0.01


def test_a_shared_machine_is_worse_than_its_parts() -> None:
    generator = np.random.default_rng(5)
    assert shared(generator, 100, 500).std() > bursts(generator, 100, 500).std()
