"""What is said about the parts of a confirmed result."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.measure.multiplicity import holm
from strop.measure.quality import judge_agreement
from strop.measure.result import Verdict
from strop.search import claims
from strop.search.claims import ONE_SHOT, PAIRS, ROUNDS, WITHOUT, claim_parts
from strop.search.climb import Stack, Standing
from strop.search.confirm import Confirmation
from tests.search.conftest import compared


def recipe(**settings: dict[str, object]) -> Recipe:
    return catalogue.recipe_from_json(settings)


RESULT = recipe(amp_optimizer={}, static_quantization={}, model_serving_framework={"buckets": 3})
SINGLE = recipe(static_quantization={}, model_serving_framework={})


def measured(
    world: Any,
    monkeypatch: pytest.MonkeyPatch,
    p: dict[str, Any],
    limit: float = 10_000.0,
    judged: dict[str, Any] | None = None,
) -> Any:
    """Run the claims with these p-values; each takes 100 seconds of the world's clock. ``judged``: of the single choice."""
    planted = world(lambda r: 0.0, limit=limit)
    session = planted.session()
    session.request = SimpleNamespace(alpha=0.05, metric="latency", only=())
    session.points = ("batch 1",)

    def confirm(name: str, rival: Any, result: Any, plan: Any, **options: Any) -> list[int]:
        assert "registered/parts" in planted.steps, "the claims are registered before anything is measured"
        planted.now += 100.0
        planted.asked = name.removeprefix("part/")
        if isinstance(found := p[planted.asked], Exception):
            raise found
        return list(range(plan.rounds * plan.pairs))

    def judgement(ledger: Any, name: str, plan: Any, pairs: Any, points: Any) -> Any:
        comparison = compared(0.1, Verdict.FASTER, "confirm", p[planted.asked])
        return {"kind": "confirm", "comparisons": {"all": comparison.to_json()}}

    session.bench.confirm = confirm
    monkeypatch.setattr(claims, "record_judgement", judgement)
    trial: Any = SimpleNamespace(row={"against": Recipe().key})
    standing = Standing(stacks=[Stack(planted.answer(SINGLE), trial, 1.0, compared(1.0, Verdict.FASTER))])
    confirmed = {
        "starts": [{"candidate": {"seconds": 1.0}}],
        "confirm": {"comparisons": {"all": compared(1.5, Verdict.FASTER, "confirm").to_json()}},
    }
    fallen = [] if judged is None else [(planted.answer(SINGLE), Confirmation(judged, None))]
    claim_parts(session, standing, [*fallen, (planted.answer(RESULT), Confirmation(None, confirmed))])
    return planted


P = {ONE_SHOT: 0.001, WITHOUT + "amp_optimizer": 0.03, WITHOUT + "static_quantization": 0.04}


def test_the_best_single_choice_and_the_result_less_each_part_are_judged_together(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = measured(world, monkeypatch, P)
    told = planted.steps["registered/parts"]
    assert list(told["rivals"]) == list(P) and told["plan"]["rounds"] * told["plan"]["pairs"] == ROUNDS * PAIRS
    assert told["rivals"][ONE_SHOT] == SINGLE.to_json()
    assert "amp_optimizer" not in told["rivals"][WITHOUT + "amp_optimizer"]
    assert planted.steps["parts"]["adjusted"] == holm(P)


def test_what_time_does_not_allow_is_not_registered(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = measured(world, monkeypatch, P, limit=80.0)
    assert list(planted.steps["registered/parts"]["rivals"]) == [ONE_SHOT]


def test_a_registered_claim_that_time_did_not_allow_counts_as_unproven(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = measured(world, monkeypatch, P, limit=230.0)
    registered = planted.steps["registered/parts"]["rivals"]
    done = [key for key in planted.steps if key.startswith("part/")]
    assert 0 < len(done) < len(registered)
    adjusted = planted.steps["parts"]["adjusted"]
    assert all(adjusted[name] == 1.0 for name in registered if f"part/{name}" not in planted.steps)
    assert adjusted[ONE_SHOT] > P[ONE_SHOT], "and the proven ones still pay for them"


@pytest.mark.parametrize(("margin", "compared_with"), [(0.05, True), (0.001, False)])
def test_a_single_choice_that_fell_to_the_guard_is_no_rival(
    world: Any, monkeypatch: pytest.MonkeyPatch, margin: float, compared_with: bool
) -> None:
    found = judge_agreement(8, 800, margin=margin, metric="agreement")
    planted = measured(world, monkeypatch, P, judged={"result": found.to_json()})
    assert (ONE_SHOT in planted.steps["registered/parts"]["rivals"]) == compared_with


def test_a_single_choice_with_wrong_answers_is_no_rival(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = measured(world, monkeypatch, P, judged={"wrong": "other shapes came"})
    assert ONE_SHOT not in planted.steps["registered/parts"]["rivals"]


def test_a_rival_that_dies_takes_nothing_from_the_result(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = measured(world, monkeypatch, {**P, WITHOUT + "amp_optimizer": MeasureError("it hung")})
    assert planted.steps["part/" + WITHOUT + "amp_optimizer"]["reason"] == "it hung"
    assert planted.steps["part/" + WITHOUT + "static_quantization"]["confirm"] is not None
    assert planted.steps["parts"]["adjusted"] == holm({**P, WITHOUT + "amp_optimizer": 1.0})
