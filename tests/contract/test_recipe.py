"""A recipe is a set: each number once, any order, and a key that changes with settings and nothing else."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.catalogue import recipe_from_json
from strop.contract.instruction import Instruction
from strop.contract.recipe import Recipe
from strop.errors import RecipeError
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i28_dynamic_quantization import DynamicQuantization
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.instructions.inference.i38_memory_layout import MemoryLayout
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer

MANY: list[Instruction] = [
    ModelServingFramework(engine="onnxruntime"),
    AmpOptimizer(),
    StaticQuantization(keep_float=("größe", "a b")),
    MemoryLayout(threads=1),
]
RECIPES = st.lists(st.sampled_from(MANY), unique_by=lambda i: i.number).map(Recipe)


def test_instructions_are_kept_in_numeric_order_whatever_order_they_came_in() -> None:
    recipes = [Recipe(order) for order in itertools.permutations(MANY)]
    assert [i.number for i in recipes[0]] == [18, 29, 38, 47]
    assert len(set(recipes)) == 1
    assert len({recipe.key for recipe in recipes}) == len({str(recipe) for recipe in recipes}) == 1


def test_a_number_is_held_once() -> None:
    twice = [*MANY, AmpOptimizer(opt_level="O2"), MemoryLayout()]
    with pytest.raises(RecipeError, match="instruction 18, 38 appears more than once"):
        Recipe(twice)
    with pytest.raises(RecipeError, match="instruction 29 appears more than once"):
        Recipe().with_(StaticQuantization(), StaticQuantization(symmetric=True))


def test_adding_replaces_the_instruction_of_the_same_number() -> None:
    recipe = Recipe(MANY).with_(AmpOptimizer(opt_level="O3"))
    assert len(recipe) == len(MANY)
    assert recipe.instructions[0] == AmpOptimizer(opt_level="O3")


@given(RECIPES, st.sampled_from(MANY))
def test_adding_and_taking_out_are_inverse_and_leave_the_recipe_itself_alone(recipe: Recipe, added: Instruction) -> None:
    before = str(recipe)
    assert recipe.with_(added).without(added.number) == recipe.without(added.number)
    assert recipe.with_(added).with_(added) == recipe.with_(added)
    assert added in recipe.with_(added).instructions
    assert str(recipe) == before


def test_taking_out_what_is_not_there_changes_nothing() -> None:
    recipe = Recipe(MANY)
    assert recipe.without(1, 56) == recipe.without() == recipe
    assert recipe.without(18, 29, 38, 47) == Recipe()


@given(RECIPES)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    again = recipe_from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe and again.key == recipe.key and hash(again) == hash(recipe)


def test_the_key_changes_with_instructions_and_settings_and_not_with_spelled_out_defaults() -> None:
    default = Recipe([StaticQuantization()])
    assert default.key == Recipe([StaticQuantization(symmetric=False, per_channel=True, smooth=None)]).key
    others = [
        Recipe(),
        Recipe([DynamicQuantization()]),
        Recipe([StaticQuantization(symmetric=True)]),
        Recipe([StaticQuantization(smooth=0.0)]),
        Recipe([StaticQuantization(keep_float=("a",))]),
        Recipe([StaticQuantization(keep_float=("a", "b"))]),
        Recipe([StaticQuantization(keep_float=("b", "a"))]),
        Recipe([StaticQuantization(), AmpOptimizer()]),
    ]
    keys = [recipe.key for recipe in (default, *others)]
    assert len(set(keys)) == len(keys)


def test_a_key_can_name_a_file() -> None:
    assert len(Recipe(MANY).key) == 12 and set(Recipe(MANY).key) <= set("0123456789abcdef")


def test_a_recipe_reads_as_a_sum_of_its_parts() -> None:
    assert str(Recipe()) == "baseline"
    assert str(Recipe([MemoryLayout(threads=1), AmpOptimizer()])) == "18 amp_optimizer + 38 memory_layout(threads=1)"


def test_an_empty_recipe_is_empty() -> None:
    assert len(Recipe()) == 0 and list(Recipe()) == [] and Recipe().to_json() == {}


def test_the_key_is_computed_once_and_is_no_part_of_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, unasked = Recipe(MANY), Recipe(MANY)
    key, calls = asked.key, []
    monkeypatch.setattr(Recipe, "to_json", lambda recipe: calls.append(recipe) or {})
    assert asked.key == key and calls == []
    assert asked == unasked and hash(asked) == hash(unasked) and repr(asked) == repr(unasked)
