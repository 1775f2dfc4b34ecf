"""Families of claims: Holm against its definition, e-BH against the dependence that breaks the running maximum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import UsageError
from strop.measure.multiplicity import e_bh, holm, open_ended_alpha
from strop.measure.ratios import FloatArray


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}
    assert holm({"only": 0.05}) == {"only": 0.05}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_equals_the_sequential_procedure(values: list[float], alpha: float) -> None:
    p_values = {str(i): value for i, value in enumerate(values)}
    accepted, expected = len(values), set()
    for name in sorted(p_values, key=lambda key: p_values[key]):
        if p_values[name] * accepted > alpha:
            break
        expected.add(name)
        accepted -= 1
    assert {name for name, value in holm(p_values).items() if value <= alpha} == expected


def test_holm_keeps_the_family_error_rate() -> None:
    generator = np.random.default_rng(0)
    draws = generator.random((2000, 10))
    wrong = sum(min(holm({str(i): value for i, value in enumerate(row)}).values()) <= 0.05 for row in draws)
    assert wrong <= 2000 * 0.05 + 4 * math.sqrt(2000 * 0.05)


def test_e_bh_rejects_the_largest_that_carry_each_other() -> None:
    assert e_bh({"a": 30.0, "b": 15.0, "c": 1.0}, q=0.1) == {"a", "b"}
    assert e_bh({"a": 29.0, "b": 14.0, "c": 1.0}, q=0.1) == frozenset()
    assert e_bh({"a": 29.0, "b": 15.0, "c": 10.0}, q=0.1) == {"a", "b", "c"}
    assert e_bh({}) == frozenset()


def ladders(generator: np.random.Generator, count: int, q: float) -> FloatArray:
    """Return paths of ``count`` null e-processes, shape ``(count, steps)``, dependent in the worst way for BH.

    Each climbs the ladder m/(mq), m/((m-1)q), …, m/q as a martingale must: the next rung with the right chance, else it
    falls to 0. The processes that fall are coupled so that just ``k`` of them turn back at rung ``k``.
    """
    rungs = [count / (k * q) for k in range(count, 0, -1)]
    k = int(generator.choice(np.arange(1, count + 1), p=(chance := 1 / np.arange(1, count + 1)) / chance.sum()))
    paths = np.zeros((count, count + 1))
    paths[:, 0] = 1.0
    if generator.random() < q * chance.sum():
        for which in generator.choice(count, k, replace=False):
            paths[which, 1 : count - k + 2] = rungs[: count - k + 1]
    return paths


def false_discovery_rate(running_maximum: bool, count: int = 20, q: float = 0.1, trials: int = 2000) -> float:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(trials):
        paths = ladders(generator, count, q)
        values = paths.max(axis=1) if running_maximum else paths[:, -1]
        found += bool(e_bh({str(i): value for i, value in enumerate(values)}, q))
    return found / trials


def test_the_ladders_are_null_e_processes() -> None:
    generator = np.random.default_rng(2)
    ends = np.stack([ladders(generator, 5, 0.4)[:, -1] for _ in range(20_000)])
    assert ends.mean() == pytest.approx(1.0, abs=0.05)


def test_e_bh_holds_its_rate_on_stopped_values_and_not_on_running_maxima() -> None:
    assert false_discovery_rate(running_maximum=False) <= 0.1 + 0.03
    assert false_discovery_rate(running_maximum=True) > 0.25


def test_levels_of_an_endless_list_sum_to_alpha() -> None:
    assert sum(open_ended_alpha(0.05, j) for j in range(1, 20_000)) == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(UsageError, match="numbered from 1"):
        open_ended_alpha(0.05, 0)


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_values_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="p-value of 'x'"):
        holm({"x": bad})
    if not bad > 1:
        with pytest.raises(UsageError, match="e-value of 'x'"):
            e_bh({"x": bad})
