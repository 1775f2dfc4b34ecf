"""What is tried, in which order."""

from strop import catalogue
from strop.contract.draft import Facts
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.host import Host
from strop.pipeline import legal
from strop.search.proposals import additions, groups, promise, removals, variants

HOST = Host(cpu="a test CPU", cores=2, isa=frozenset({"avx2", "avx512_vnni"}))
START = frozenset({Trait.INFERENCE})


def recipe(**settings: dict[str, object]) -> Recipe:
    return catalogue.recipe_from_json(settings)


def test_every_group_is_legal_and_needs_all_its_members() -> None:
    found = groups(variants(Facts(), HOST, START), START, {})
    assert found
    for group in found:
        assert legal(group, START) is None
        if len(group) > 1 and not any(i.card.enabler for i in group):
            raise AssertionError(f"{group} holds two that do not need each other")


def test_predictions_order_the_race() -> None:
    pool = variants(Facts(), HOST, START)
    last = groups(pool, START, {i.number: 4.0 for i in pool} | {29: 0.1})[-1]
    first = groups(pool, START, dict.fromkeys((i.number for i in pool), 0.5) | {29: 9.0, 47: 2.0})[0]
    assert 29 not in {i.number for i in groups(pool, START, {i.number: 4.0 for i in pool} | {29: 0.1})[0]}
    assert 29 in {i.number for i in first}
    assert promise(last, {}) >= 0


def test_only_what_was_asked_for_is_tried() -> None:
    assert {i.number for i in variants(Facts(), HOST, START, [38])} == {38}


def test_an_addition_brings_one_instruction_or_changes_one_setting() -> None:
    stack = recipe(model_serving_framework={})
    found = additions(stack, variants(Facts(), HOST, START), Facts(), HOST, START)
    assert found
    for candidate in found:
        assert legal(candidate, START) is None
        assert candidate.key != stack.key
        assert len(set(candidate.instructions) - set(stack.instructions)) == 1
    assert any(len(candidate) == 1 for candidate in found), "a setting of the stack itself is tried"
    assert any(len(candidate) == 2 for candidate in found), "another instruction is tried"


def test_an_instruction_that_others_need_cannot_be_taken_out_alone() -> None:
    stack = recipe(static_quantization={}, model_serving_framework={})
    assert [instruction.number for instruction, _ in removals(stack, START)] == [29]
