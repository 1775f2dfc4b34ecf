"""Families of claims: Holm against its definition, and the error rate that it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import UsageError
from strop.measure.multiplicity import holm


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


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_values_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="p-value of 'x'"):
        holm({"x": bad})
