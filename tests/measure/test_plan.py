"""Plans: what is fixed before a measurement survives a file, and nonsense is refused by name."""

from __future__ import annotations

import json

import pytest

from strop.errors import UsageError
from strop.measure.plan import ConfirmPlan, ScreenPlan


@pytest.mark.parametrize(
    "plan", [ScreenPlan(), ScreenPlan(delta=0.01, alpha=0.01, max_pairs=80, metric="throughput", spread=0.01)]
)
def test_screen_plan_survives_json(plan: ScreenPlan) -> None:
    assert ScreenPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize("plan", [ConfirmPlan(), ConfirmPlan(rounds=9, pairs=33, exact=True, alpha=0.01, least=7)])
def test_confirm_plan_survives_json(plan: ConfirmPlan) -> None:
    assert ConfirmPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"delta": -0.01}, "delta"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha_futility": 1.0}, "alpha_futility"),
        ({"min_pairs": 41}, "min_pairs"),
        ({"min_pairs": 0}, "min_pairs"),
        ({"metric": "speed"}, "metric"),
        ({"spread": 0.0}, "spread"),
    ],
)
def test_screen_plan_names_what_is_wrong(settings: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named} of a measuring plan must be"):
        ScreenPlan(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rounds": 1}, "rounds"),
        ({"pairs": 1}, "pairs"),
        ({"least": 1}, "least"),
        ({"least": 6}, "least"),
        ({"alpha": 1.5}, "alpha"),
        ({"delta": -1}, "delta"),
        ({"metric": ""}, "metric"),
    ],
)
def test_confirm_plan_names_what_is_wrong(settings: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named} of a measuring plan must be"):
        ConfirmPlan(**settings)  # type: ignore[arg-type]


def test_exact_mode_needs_enough_rounds_for_its_smallest_p_value() -> None:
    ConfirmPlan(exact=True, rounds=5, alpha=0.05)
    with pytest.raises(UsageError, match=r"rounds .* 2\^-rounds"):
        ConfirmPlan(exact=True, rounds=4, alpha=0.05)
    with pytest.raises(UsageError, match="rounds"):
        ConfirmPlan(exact=True, rounds=5, alpha=0.05, least=4)


def test_a_claim_needs_all_rounds_unless_fewer_were_planned_to_do() -> None:
    assert ConfirmPlan(rounds=5).needed == 5
    assert ConfirmPlan(rounds=5, least=3).needed == 3
