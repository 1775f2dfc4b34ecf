"""One form for the end of every kind of run."""

from __future__ import annotations

from strop import catalogue
from strop.api.ending import ending
from strop.api.result import KEPT, NOTHING_PAID
from strop.measure.result import Finding


def test_what_was_kept_is_told_without_a_reason_and_a_reason_without_a_recipe() -> None:
    recipe = catalogue.recipe_from_json({"graph_compile": {}})
    won, lost = ending(recipe, "unused", ()), ending(None, "too slow", (Finding(code="x", message="m", advice="a"),))
    assert (won["result"], won["exit_code"], won["reason"], won["kept"]) == (recipe.key, KEPT, "", ["35 graph_compile"])
    assert "graph_compile" in won["recipe"]
    assert lost == {
        "result": None,
        "exit_code": NOTHING_PAID,
        "reason": "too slow",
        "kept": [],
        "recipe": "",
        "findings": [{"code": "x", "message": "m", "advice": "a"}],
    }
