"""Recipes are of one kind when the same instructions put their answers at risk."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.search.kinds import BARE_PART, bare_gain, chance, kind, lossy_part

INT8 = catalogue.recipe_from_json({"static_quantization": {}, "model_serving_framework": {}})
SYMMETRIC = catalogue.recipe_from_json({"static_quantization": {"symmetric": True}, "memory_layout": {}})
PLAIN = catalogue.recipe_from_json({"model_serving_framework": {}, "memory_layout": {}})


def test_the_lossy_part_is_what_may_change_answers() -> None:
    assert lossy_part(INT8) == catalogue.recipe_from_json({"static_quantization": {}})
    assert lossy_part(PLAIN) == lossy_part(Recipe()) == Recipe()


def test_settings_decide_whether_answers_may_change() -> None:
    rounding, lossy = (
        catalogue.recipe_from_json({"kernel_fusion": {"rules": rules}}) for rules in (["optimizer"], ["optimizer", "dropout"])
    )
    assert lossy_part(rounding) == Recipe()
    assert lossy_part(lossy) == lossy


def test_settings_and_lossless_company_do_not_make_another_kind() -> None:
    assert kind(INT8) == kind(SYMMETRIC) == {29}
    assert kind(PLAIN) == frozenset()
    assert lossy_part(INT8) != lossy_part(SYMMETRIC), "but their settings differ"


def test_what_remains_without_lossy_instructions_is_no_part_of_what_a_student_gains() -> None:
    student = catalogue.recipe_from_json({"static_quantization": {}, "knowledge_distillation": {}, "model_serving_framework": {}})
    assert bare_gain([(student, 2.8), (INT8, 1.5), (SYMMETRIC, 1.9)]) == BARE_PART * 1.9
    assert bare_gain([(student, 2.8)]) == BARE_PART * 2.8, "nothing better is known"


def test_a_chance_is_asked_for_only_where_quality_was_judged() -> None:
    asked: list[Any] = []
    session: Any = SimpleNamespace(chance_to_confirm=lambda quality, alpha: asked.append((quality, alpha)) or 0.4)
    judged, unjudged = (SimpleNamespace(quality=quality) for quality in ("a result", None))
    assert (chance(session, judged, 0.03), chance(session, unjudged, 0.03), chance(session, None, 0.03)) == (0.4, 1.0, 1.0)  # type: ignore[arg-type]
    assert asked == [("a result", 0.03)]
