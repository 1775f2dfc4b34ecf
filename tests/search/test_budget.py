"""The budget: what is left, what is set aside."""

from strop.search.budget import CLOSING, CONFIRM_SHARE, Budget


def test_a_step_may_not_touch_the_reserve() -> None:
    spent = [100.0]
    budget = Budget(240.0, lambda: spent[0])
    assert budget.left == 240.0 - CLOSING - 100.0
    assert budget.allows(budget.left - 100.0, 100.0)
    assert not budget.allows(budget.left - 99.9, 100.0)
    spent[0] = 239.0
    assert budget.left < 0


def test_confirming_is_set_aside_but_never_less_than_its_share() -> None:
    budget = Budget(240.0, lambda: 0.0)
    assert budget.reserve(105.0) == 105.0
    assert budget.reserve(5.0) == CONFIRM_SHARE * 240.0
