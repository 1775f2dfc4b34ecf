"""One form for the end of every kind of run."""

from __future__ import annotations

from strop import catalogue
from strop.api.ending import ending, nothing_kept
from strop.api.result import KEPT, NOTHING_PAID
from strop.measure.quality import judge_agreement
from strop.measure.result import Finding
from strop.search.trials import Trial


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


def test_a_recipe_that_only_lacked_examples_is_told_with_how_many() -> None:
    """ "No recipe was as good" would be wrong: none of the 60 answers differed."""

    def trial(differing: int, status: str) -> Trial:
        judged = judge_agreement(differing, 60, margin=0.01, metric="agreement")
        return Trial({"status": status, "quality": {"result": judged.to_json()}})

    none, slow = trial(0, "unproven quality"), Trial({"status": "slower", "quality": None})
    assert nothing_kept([slow, none, trial(1, "unproven quality")]).startswith("2 recipes were faster, but")
    assert "about 299 in the confirming split" in nothing_kept([trial(1, "unproven quality"), none])
    assert nothing_kept([slow, trial(9, "worse quality")]) == nothing_kept([]) == "no recipe was found to be faster and as good"
