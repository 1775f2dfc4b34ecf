"""When answers count as plainly wrong, before anything is timed."""

import numpy as np
import pytest

from strop.search.examiner import compare_answers

ORIGINAL = [{"logits": np.array([[3.0, -3.0]])}, {"logits": np.array([[0.01, -0.01]])}, {"logits": np.array([[-2.0, 2.0]])}]


def changed(number: int, value: object) -> list[object]:
    return [{"logits": value} if i == number else answer for i, answer in enumerate(ORIGINAL)]


def test_an_undecided_example_may_depart_from_itself() -> None:
    """Its logits are near zero, so a small shift is many times its own size; over all answers it is nothing."""
    assert compare_answers(ORIGINAL, changed(1, np.array([[-0.05, 0.05]])), 0.02) is None


def test_other_answers_are_wrong() -> None:
    assert "output 0 is 1.2 away" in str(compare_answers(ORIGINAL, changed(0, np.array([[-1.5, 1.5]])), 0.9))
    assert compare_answers(ORIGINAL, ORIGINAL, 0.0) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[np.nan, 1.0]]), "on evaluation input 2, output 0 holds NaN or infinity"),
        (np.array([[1.0, np.inf]]), "on evaluation input 2, output 0 holds NaN or infinity"),
        (np.array([1.0, 2.0]), r"on evaluation input 2, output 0 has shape [2], the original's has [1, 2]"),
        ([np.array([[-2.0, 2.0]])], "on evaluation input 2, the structure of the answer changed"),
    ],
)
def test_plain_damage_is_told_with_its_input(value: object, message: str) -> None:
    assert message in str(compare_answers(ORIGINAL, changed(2, value), 0.9))


def test_an_output_of_zeros_is_compared_absolutely() -> None:
    zeros = [np.zeros(3)]
    assert compare_answers(zeros, [np.full(3, 0.1)], 0.02) is not None
    assert compare_answers(zeros, zeros, 0.02) is None
