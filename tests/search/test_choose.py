"""Which claim goes first, where the chances are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.result import Verdict
from strop.search import choose
from strop.search.choose import Option, best_first, choose_and_confirm, claimable, lossy_part
from strop.search.climb import Stack, Standing


def recipe(**settings: dict[str, object]) -> Recipe:
    return catalogue.recipe_from_json(settings)


INT8 = recipe(static_quantization={}, model_serving_framework={"buckets": 3})
INT8_BARE = recipe(static_quantization={}, model_serving_framework={})
DYNAMIC = recipe(dynamic_quantization={}, model_serving_framework={"engine": "onnxruntime"})


def stack(world: Any, of: Recipe, gain: float, chance: float = 1.0) -> Stack:
    from tests.search.conftest import compared

    quality = SimpleNamespace(chance=chance)
    trial: Any = SimpleNamespace(quality=quality, row={"against": Recipe().key})
    return Stack(world.answer(of), trial, gain, compared(gain, Verdict.FASTER))


def session(world: Any, **changes: Any) -> Any:
    """Chances shrink with alpha, as they really do."""
    made = world.session()
    made.request = SimpleNamespace(alpha=0.05)
    made.chance_to_confirm = lambda quality, alpha: quality.chance * (1.0 if alpha > 0.02 else 0.5)
    made.out_of_time = lambda: True
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


@pytest.mark.parametrize(("chance", "first"), [(0.9, INT8), (0.7, INT8), (0.5, DYNAMIC)])
def test_a_doubtful_recipe_goes_first_only_while_what_stands_behind_it_makes_up_for_it(
    chance: float, first: Recipe, world: Any
) -> None:
    planted = world(lambda r: 0.0)
    options = [Option(s.recipe, s.gain, s.screened, s) for s in (stack(planted, INT8, 1.8, chance), stack(planted, DYNAMIC, 1.4))]
    assert best_first(session(planted), options, 0.03, 0.01).recipe == first


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


def test_the_last_claim_goes_to_what_holds_alone_and_not_to_what_would_pay_with_another_behind_it(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = world(lambda r: 0.0)
    plain = recipe(model_serving_framework={})
    lossy = [INT8, DYNAMIC, recipe(amp_optimizer={})]
    kinds = [stack(planted, r, 2.0, 0.9) for r in lossy] + [stack(planted, plain, 1.3)]
    asked = confirming(monkeypatch, {plain: True} | dict.fromkeys(lossy, False))
    found = choose.Found()
    choose_and_confirm(session(planted), Standing(stacks=kinds), found)
    assert found.result is not None and found.result.recipe == plain and len(asked) <= choose.MOST_CLAIMS


def test_what_screening_says_of_a_lossy_recipe_is_trusted_less_after_one_has_fallen(world: Any) -> None:
    planted = world(lambda r: 0.0)
    plain = recipe(model_serving_framework={})
    options = [Option(s.recipe, s.gain, s.screened, s) for s in (stack(planted, DYNAMIC, 2.0, 0.9), stack(planted, plain, 1.3))]
    assert best_first(session(planted), options, 0.03, 0.0).recipe == DYNAMIC
    assert best_first(session(planted), options, 0.03, 0.0, trust=0.5).recipe == plain


def test_no_second_claim_is_begun_without_time_for_it(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = world(lambda r: 0.0, limit=100.0)
    planted.now = 90.0
    asked = confirming(monkeypatch, {INT8: False})
    found = choose.Found()
    choose_and_confirm(session(planted), Standing(stacks=[stack(planted, INT8, 1.8)]), found)
    assert [r for r, _ in asked] == [INT8] and found.result is None


def test_without_the_lossy_part_only_what_is_still_legal_is_claimed(world: Any) -> None:
    planted = world(lambda r: 0.0)
    standing = Standing(stacks=[stack(planted, INT8, 1.8)])
    made = session(planted)
    assert [o.recipe for o in claimable(made, standing)] == [INT8, recipe(model_serving_framework={"buckets": 3})]
    made.workload.traits = frozenset({Trait.INFERENCE, Trait.ENGINE})  # an engine is there already: none may be added
    assert [o.recipe for o in claimable(made, standing)] == [INT8]
