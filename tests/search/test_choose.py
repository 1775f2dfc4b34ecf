"""Which claim goes first, where the chances are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.result import Verdict
from strop.pipeline import Outcome
from strop.search import choose
from strop.search.choose import SHARES, Option, choose_and_confirm, claimable, lossy_part, plan_claims
from strop.search.climb import Stack, Standing
from strop.search.request import Request
from strop.search.run import LEAST_ROUNDS


def recipe(**settings: dict[str, object]) -> Recipe:
    return catalogue.recipe_from_json(settings)


INT8 = recipe(static_quantization={}, model_serving_framework={"buckets": 3})
PLAIN = recipe(model_serving_framework={})
INT8_BARE = recipe(static_quantization={}, model_serving_framework={})
DYNAMIC = recipe(dynamic_quantization={}, model_serving_framework={"engine": "onnxruntime"})


def stack(world: Any, of: Recipe, gain: float, chance: float = 1.0) -> Stack:
    from tests.search.conftest import compared

    quality = SimpleNamespace(chance=chance)
    trial: Any = SimpleNamespace(quality=quality, row={"against": Recipe().key})
    return Stack(world.answer(of), trial, gain, compared(gain, Verdict.FASTER))


def session(world: Any, **changes: Any) -> Any:
    """Chances shrink with alpha, as they really do, but for what is sure."""
    made = world.session()
    made.request = Request(alpha=0.05)
    made.chance_to_confirm = lambda quality, alpha: quality.chance * (1.0 if alpha > 0.02 or quality.chance == 1 else 0.5)
    made.reserved = math.inf  # no time is left to take recipes apart
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_recipes_that_change_answers_alike_are_one_choice_and_the_leader_without_it_is_another(world: Any) -> None:
    planted = world(lambda r: 0.0)
    standing = Standing(stacks=[stack(planted, INT8_BARE, 1.3), stack(planted, INT8, 1.8), stack(planted, DYNAMIC, 1.4)])
    options = claimable(planted.session(), standing)
    assert [o.recipe for o in options] == [INT8, DYNAMIC, recipe(model_serving_framework={"buckets": 3})]
    assert options[2].stack is None and 0 < options[2].gain < 1.8


def test_a_recipe_without_a_lossy_part_needs_no_other_behind_it(world: Any) -> None:
    planted = world(lambda r: 0.0)
    plain = recipe(model_serving_framework={})
    assert [o.recipe for o in claimable(planted.session(), Standing(stacks=[stack(planted, plain, 1.0)]))] == [plain]
    assert lossy_part(INT8) == recipe(static_quantization={}) and lossy_part(plain) == Recipe()


def planned(world: Any, *stacks: tuple[Recipe, float, float]) -> list[tuple[Recipe, int]]:
    """Recipes in the order in which they would be claimed, and their tenths of alpha."""
    planted = world(lambda r: 0.0)
    made = [stack(planted, of, gain, chance) for of, gain, chance in stacks]
    claims = plan_claims(session(planted), [Option(s.recipe, s.gain, s.screened, s) for s in made])
    assert sum(claim.alpha for claim in claims) <= 0.05 + 1e-12
    return [(claim.option.recipe, round(SHARES * claim.alpha / 0.05)) for claim in claims]


@pytest.mark.parametrize(("chance", "first"), [(0.9, INT8), (0.6, DYNAMIC)])
def test_a_doubtful_recipe_goes_first_only_while_what_stands_behind_it_makes_up_for_it(
    chance: float, first: Recipe, world: Any
) -> None:
    assert planned(world, (INT8, 1.8, chance), (DYNAMIC, 1.7, 0.9))[0][0] == first


def test_what_cannot_hold_is_not_claimed(world: Any) -> None:
    assert planned(world, (INT8, 1.8, 0.0), (PLAIN, 1.7, 1.0)) == [(PLAIN, 10)]


def test_a_single_claim_has_all_of_alpha(world: Any) -> None:
    assert planned(world, (PLAIN, 1.0, 1.0)) == [(PLAIN, 10)]


def test_what_changes_no_answers_keeps_the_least_of_alpha_behind_what_does(world: Any) -> None:
    assert planned(world, (INT8, 1.8, 0.9), (PLAIN, 1.2, 1.0)) == [(INT8, 9), (PLAIN, 1)]


def test_of_two_doubtful_recipes_the_likelier_keeps_the_alpha_that_it_needs(world: Any) -> None:
    """A chance is half below two fifths of alpha here: the student has little to lose by less, what stands behind it much."""
    student = recipe(knowledge_distillation={}, static_quantization={}, model_serving_framework={})
    claims = planned(world, (student, 2.8, 0.3), (INT8, 1.8, 0.9), (PLAIN, 1.0, 1.0))
    assert [r for r, _ in claims] == [student, INT8, PLAIN]
    assert dict(claims)[INT8] >= 5 > dict(claims)[student]


def test_a_recipe_is_trusted_less_behind_one_that_was_likely_and_fell(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = (INT8, 2.0, 0.9), (DYNAMIC, 1.9, 0.9), (PLAIN, 1.3, 1.0)
    monkeypatch.setattr(choose, "MOST_CLAIMS", 2)
    assert [r for r, _ in planned(world, *stacks)] == [INT8, PLAIN], "the second would fall likely with the first"
    monkeypatch.setattr(choose, "FALLEN_WEIGHT", 1.0)
    assert [r for r, _ in planned(world, *stacks)] == [INT8, DYNAMIC]


def confirming(monkeypatch: pytest.MonkeyPatch, holds: dict[Recipe, bool]) -> list[tuple[Recipe, float]]:
    asked: list[tuple[Recipe, float]] = []

    def confirm(session: Any, prepared: Any, screened: Any, alpha: float) -> Any:
        asked.append((prepared.recipe, alpha))
        return SimpleNamespace(holds=holds[prepared.recipe], unsound="" if holds[prepared.recipe] else "refuted")

    monkeypatch.setattr(choose, "confirm", confirm)
    return asked


def test_when_a_claim_falls_the_next_is_made_and_all_of_them_share_alpha(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = world(lambda r: 0.0)
    standing = Standing(stacks=[stack(planted, INT8, 1.8, 0.9), stack(planted, DYNAMIC, 1.4)])
    asked = confirming(monkeypatch, {INT8: False, DYNAMIC: False, recipe(model_serving_framework={"buckets": 3}): True})
    found = choose.Found()
    choose_and_confirm(session(planted), standing, found)
    assert next(r for r, _ in asked) == INT8 and found.result is not None and len(found.confirmations) == len(asked)
    assert sum(alpha for _, alpha in asked) <= 0.05 + 1e-12
    assert len({lossy_part(r) for r, _ in asked}) == len(asked), "no fallen kind is tried again"


def test_a_claim_that_holds_is_the_last_one(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = world(lambda r: 0.0)
    asked = confirming(monkeypatch, {INT8: True})
    found = choose.Found()
    choose_and_confirm(session(planted), Standing(stacks=[stack(planted, INT8, 1.8)]), found)
    assert [r for r, _ in asked] == [INT8] and found.result is not None and found.result.recipe == INT8


def test_the_plan_is_written_down_before_a_claim_is_tested_and_a_resumed_run_keeps_to_it(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = world(lambda r: 0.0)
    standing = Standing(stacks=[stack(planted, INT8, 1.8, 0.9)])
    asked = confirming(monkeypatch, {INT8: False, recipe(model_serving_framework={"buckets": 3}): True})
    made = session(planted)
    choose_and_confirm(made, standing, choose.Found())
    plan = made.ledger.step("registered/claims", lambda: pytest.fail("no plan was written"))
    assert [(row["recipe"], row["alpha"]) for row in plan] == [(r.key, alpha) for r, alpha in asked]
    asked.clear()
    made.chance_to_confirm = lambda quality, alpha: 0.0
    choose_and_confirm(made, standing, choose.Found())
    assert [(r.key, alpha) for r, alpha in asked] == [(row["recipe"], row["alpha"]) for row in plan]


def test_no_second_claim_is_begun_without_time_for_it(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = world(lambda r: 0.0, limit=100.0)
    planted.now = 90.0
    asked = confirming(monkeypatch, {INT8: False})
    found = choose.Found()
    choose_and_confirm(session(planted), Standing(stacks=[stack(planted, INT8, 1.8)]), found)
    assert [r for r, _ in asked] == [INT8] and found.result is None


def test_a_second_claim_that_an_earlier_sitting_began_is_gone_on_with(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = recipe(model_serving_framework={"buckets": 3})
    planted = world(lambda r: 0.0, limit=100.0)
    planted.now, planted.steps[f"registered/{bare.key}"] = 100.0, {}
    asked = confirming(monkeypatch, {INT8: False, bare: True})
    found = choose.Found()
    choose_and_confirm(session(planted), Standing(stacks=[stack(planted, INT8, 1.8)]), found)
    assert [r for r, _ in asked] == [INT8, bare] and found.result is not None


def test_without_the_lossy_part_only_what_is_still_legal_is_claimed(world: Any) -> None:
    planted = world(lambda r: 0.0)
    standing = Standing(stacks=[stack(planted, INT8, 1.8)])
    made = session(planted)
    assert [o.recipe for o in claimable(made, standing)] == [INT8, recipe(model_serving_framework={"buckets": 3})]
    made.workload.traits = frozenset({Trait.INFERENCE, Trait.ENGINE})  # an engine is there already: none may be added
    assert [o.recipe for o in claimable(made, standing)] == [INT8]


def test_what_stands_in_for_a_fallen_claim_needs_the_least_rounds_only_and_is_named_where_it_cannot_be_had(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = world(lambda r: 0.0, outcome=lambda r: Outcome.PREPARED if r == INT8 else Outcome.FAILED)
    asked, kept, told = confirming(monkeypatch, {INT8: False}), [], []
    made = session(planted)
    made.prepare = lambda recipes, keep: kept.append(keep) or planted.prepare(recipes)
    made.tell = lambda name, text, **data: told.append(text)
    found = choose.Found()
    choose_and_confirm(made, Standing(stacks=[stack(planted, INT8, 1.8, 0.5)]), found)
    assert [r for r, _ in asked] == [INT8] and found.result is None
    assert kept == [LEAST_ROUNDS * made.round_seconds] * 2
    assert len(told) == 1 and told[0].startswith("47 model_serving_framework(buckets=3) cannot be confirmed")
