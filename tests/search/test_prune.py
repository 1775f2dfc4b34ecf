"""What no longer pays in a stack is taken out, where it is known what each part is worth."""

from __future__ import annotations

import math
from typing import Any

import pytest

from strop import catalogue
from strop.contract.recipe import Recipe
from strop.errors import MeasureError
from strop.pipeline import Outcome
from strop.search.prune import PRUNE_SECONDS, prune

STACK = catalogue.recipe_from_json({"amp_optimizer": {}, "static_quantization": {}, "model_serving_framework": {}})
FUSED = catalogue.recipe_from_json({"kernel_fusion": {}, "amp_optimizer": {}, "graph_compile": {}})


def worth(**parts: float) -> Any:
    """Gains of the parts add up."""
    return lambda recipe: sum(parts.get(i.name, 1.0) for i in recipe)


def test_a_stack_whose_parts_all_pay_stays_whole_and_the_table_says_what_each_gives(world: Any) -> None:
    planted = world(worth(amp_optimizer=0.3, static_quantization=0.5))
    whole, table = prune(planted.session(), planted.answer(STACK))
    assert whole.recipe == STACK
    assert {name: math.log(trial.speedup) for name, trial in table} == pytest.approx(
        {"amp_optimizer": 0.3, "static_quantization": 0.5}
    ), "the engine cannot be taken out: nothing else could run int8"
    assert planted.alive == 0, "no arm is left alive"


@pytest.mark.parametrize("gain", [0.0, -0.2])
def test_a_part_that_does_not_pay_is_dropped_and_the_rest_is_looked_at_again(gain: float, world: Any) -> None:
    planted = world(worth(amp_optimizer=gain, static_quantization=0.5))
    left, table = prune(planted.session(), planted.answer(STACK))
    assert left.recipe == STACK.without(18)
    assert [name for name, _ in table] == ["static_quantization"], "the table is about the stack that remains"
    assert [trial.row["recipe"] for _, trial in table] == [left.recipe.to_json()]
    assert planted.alive == 0


def test_all_that_does_not_pay_is_dropped_but_for_the_last_part(world: Any) -> None:
    planted = world(worth(kernel_fusion=0.0, amp_optimizer=0.0, graph_compile=0.0))
    left, table = prune(planted.session(), planted.answer(FUSED))
    assert len(left.recipe) == 1 and table == []


def test_a_stack_is_not_pruned_with_the_time_that_confirming_needs(world: Any) -> None:
    planted = world(worth(amp_optimizer=0.0), limit=100.0 + PRUNE_SECONDS, reserved=100.0)
    left, table = prune(planted.session(), planted.answer(STACK))
    assert (left.recipe, table, planted.now) == (STACK, [], 0.0)


def test_a_rest_that_cannot_be_prepared_says_nothing_about_the_part(world: Any) -> None:
    def outcome(recipe: Recipe) -> Outcome:
        return Outcome.FAILED if recipe == STACK.without(18) else Outcome.PREPARED

    planted = world(worth(amp_optimizer=0.0, static_quantization=0.5), outcome=outcome)
    left, table = prune(planted.session(), planted.answer(STACK))
    assert left.recipe == STACK
    assert [name for name, _ in table] == ["static_quantization"]


def test_a_rest_that_cannot_be_run_says_nothing_about_the_part(world: Any) -> None:
    planted = world(worth(amp_optimizer=0.3, static_quantization=0.5))
    session, seated = planted.session(), planted.seated

    def dying(prepared: Any, name: str) -> Any:
        if prepared.recipe == STACK.without(18):
            raise MeasureError("it hung")
        return seated(prepared, name)

    session.bench.seated = dying
    left, table = prune(session, planted.answer(STACK))
    assert left.recipe == STACK and [name for name, _ in table] == ["static_quantization"]


def test_a_later_sitting_without_time_claims_what_remained(world: Any) -> None:
    """Else it would claim the whole stack after the pruned one was judged: a second look at data that judge once."""
    planted = world(worth(amp_optimizer=0.0, static_quantization=0.5), limit=1000.0)
    first, table = prune(planted.session(), planted.answer(STACK))
    planted.now = 1000.0
    again, same = prune(planted.session(), planted.answer(STACK))
    assert again.recipe == first.recipe == STACK.without(18)
    assert [(name, trial.row) for name, trial in same] == [(name, trial.row) for name, trial in table]
