"""Handing quantised operators back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from strop import catalogue
from strop.contract.draft import EngineOptions
from strop.contract.recipe import Recipe
from strop.pipeline import Outcome, Preparation
from strop.search.repair import HANDED_BACK, repairs
from strop.trial.workshop import Prepared

SENSITIVITY = {f"op{n:02d}": 1.0 / (n + 1) for n in range(20)}


def prepared(keep: list[str], sensitivity: dict[str, float]) -> Prepared:
    recipe: Recipe = catalogue.recipe_from_json({"static_quantization": {"keep_float": keep}, "model_serving_framework": {}})
    preparation = Preparation(outcome=Outcome.PREPARED, sensitivity=sensitivity)
    return Prepared(recipe=recipe, folder=None, preparation=preparation, options=EngineOptions(), seconds=0.0)  # type: ignore[arg-type]


def kept(recipes: list[Recipe]) -> list[tuple[str, ...]]:
    return [instruction.keep_float for r in recipes for instruction in r if hasattr(instruction, "keep_float")]


def ended(status: str) -> Any:
    return SimpleNamespace(status=status)


def test_the_most_sensitive_operators_go_back_first_and_more_of_them_each_time() -> None:
    first = kept(repairs(ended("worse quality"), prepared([], SENSITIVITY)))
    assert first == [("op00", "op01")]
    rest = {name: value for name, value in SENSITIVITY.items() if name not in first[0]}
    second = kept(repairs(ended("unproven quality"), prepared(list(first[0]), rest)))
    assert second == [tuple(f"op{n:02d}" for n in range(5))]


def test_there_is_an_end_to_it() -> None:
    half = list(SENSITIVITY)[: round(HANDED_BACK[-1] * 20)]
    assert repairs(ended("worse quality"), prepared(half, {n: v for n, v in SENSITIVITY.items() if n not in half})) == []


def test_only_lost_quality_of_something_quantised_is_repaired() -> None:
    assert repairs(ended("slower"), prepared([], SENSITIVITY)) == []
    assert repairs(ended("worse quality"), prepared([], {})) == []
