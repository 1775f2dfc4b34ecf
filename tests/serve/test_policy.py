"""What a policy refuses to be."""

from __future__ import annotations

from typing import Any

import pytest

from strop.errors import UsageError
from strop.serve.policy import Policy


def test_ageing_follows_the_objective_unless_it_is_given() -> None:
    assert Policy(objective=0.2).ageing == 0.05
    assert Policy(objective=0.2, ageing=1.0).ageing == 1.0


@pytest.mark.parametrize("wrong", [{"objective": 0.0}, {"objective": 1.0, "executors": 0}, {"objective": 1.0, "max_rows": 0}])
def test_nonsense_is_refused_in_words(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="positive objective, executors and rows"):
        Policy(**wrong)
