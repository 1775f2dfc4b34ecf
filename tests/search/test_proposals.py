"""What is tried, in which order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop import catalogue
from strop.contract.draft import Facts
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.measure.host import Host
from strop.pipeline import legal
from strop.search.proposals import Proposal, additions, barred, groups, removals, variants

HOST = Host(cpu="a test CPU", cores=2, isa=frozenset({"avx2", "avx512_vnni"}))
START = frozenset({Trait.INFERENCE})


def recipe(**settings: dict[str, object]) -> Recipe:
    return catalogue.recipe_from_json(settings)


def test_every_group_is_legal_and_needs_all_its_members() -> None:
    found = groups(variants(Facts(), HOST, START), START, {})
    assert found
    for proposal in found:
        assert legal(proposal.recipe, START) is None
        if len(proposal.recipe) > 1 and not any(i.card.enabler for i in proposal.recipe):
            raise AssertionError(f"{proposal.recipe} holds two that do not need each other")


def test_predictions_are_believed_before_the_cards() -> None:
    pool = variants(Facts(), HOST, START)
    static = next(p for p in groups(pool, START, {29: 9.0, 47: 2.0}) if {i.number for i in p.recipe} == {29, 47})
    assert static.mean == pytest.approx(math.log(18.0))
    silent = next(p for p in groups(pool, START, {}) if {i.number for i in p.recipe} == {29, 47})
    assert silent.mean == pytest.approx(sum(math.log(i.card.prior) for i in silent.recipe))


@given(st.floats(-3, 3), st.floats(0.05, 1), st.floats(-3, 3))
def test_expected_improvement_is_the_mean_of_what_lies_above_the_best(mean: float, spread: float, best: float) -> None:
    grid = np.linspace(mean - 8 * spread, mean + 8 * spread, 4001)
    density = np.exp(-(((grid - mean) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
    wanted = float(np.trapezoid(np.maximum(grid - best, 0) * density, grid))
    assert Proposal(Recipe(), mean=mean, spread=spread).improvement(best) == pytest.approx(wanted, abs=1e-4)


def test_what_promises_less_than_is_already_had_is_worth_little() -> None:
    group = Proposal(Recipe(), mean=math.log(1.5))
    assert group.improvement(0.0) > 0.4 > 0.001 > group.improvement(math.log(6.0))


def test_only_what_was_asked_for_is_tried() -> None:
    assert {i.number for i in variants(Facts(), HOST, START, [38])} == {38}


def test_an_addition_brings_one_instruction_or_changes_one_setting() -> None:
    stack = recipe(model_serving_framework={})
    found = additions(stack, 0.0, variants(Facts(), HOST, START), Facts(), HOST, START)
    assert found
    for proposal in found:
        candidate = proposal.recipe
        assert legal(candidate, START) is None
        assert proposal.against == stack.key != candidate.key
        assert len(set(candidate.instructions) - set(stack.instructions)) == 1
    assert any(len(p.recipe) == 1 for p in found), "a setting of the stack itself is tried"
    assert any(len(p.recipe) == 2 for p in found), "another instruction is tried"


def test_settings_that_act_at_opening_promise_most_and_depend_on_what_is_set() -> None:
    facts, pool = Facts(dynamic=True), variants(Facts(dynamic=True), HOST, START)

    def offered(**settings: object) -> dict[str, float]:
        found = additions(recipe(model_serving_framework=settings), 0.0, pool, facts, HOST, START)
        return {str(p.recipe): p.mean for p in found if len(p.recipe) == 1}

    bare = offered()
    assert "47 model_serving_framework(buckets=3)" in bare and not any("trim" in text for text in bare)
    assert bare["47 model_serving_framework(buckets=3)"] > bare["47 model_serving_framework(engine=onnxruntime)"]
    assert "47 model_serving_framework(buckets=3, trim=True)" in offered(buckets=3)
    assert not any("trim=True" in text and "buckets" not in text for text in offered(buckets=3, trim=True))


def test_a_smaller_network_is_thought_to_help_a_stack_as_much_as_it_would_alone() -> None:
    start, pool = START | {Trait.TEACHER}, variants(Facts(depth=6), HOST, START)
    found = {str(p.recipe): p for p in additions(recipe(model_serving_framework={}), 1.0, pool, Facts(depth=6), HOST, start)}
    assert found["34 knowledge_distillation + 47 model_serving_framework"].mean == pytest.approx(1.0 + math.log(1.6))
    assert found["18 amp_optimizer + 47 model_serving_framework"].mean < 1.0 + math.log(1.2)


def test_an_instruction_that_others_need_cannot_be_taken_out_alone() -> None:
    stack = recipe(static_quantization={}, model_serving_framework={})
    assert [instruction.number for instruction, _ in removals(stack, START)] == [29]


def test_an_instruction_whose_default_is_for_another_kind_of_workload_is_raced_with_the_setting_that_fits() -> None:
    training = frozenset({Trait.TRAINING})
    (fits,) = variants(Facts(), HOST, training, [31])
    assert fits.ties().needs == training and legal(Recipe([fits]), training) is None
    (usual,) = variants(Facts(), HOST, START, [31])
    assert usual == type(usual)()


CARD = Host(cpu="a test CPU", cores=2, accelerators=("a test card",))
ON_A_CARD = START | {Trait.ACCELERATOR}


def test_on_an_accelerator_only_what_runs_there_is_tried() -> None:
    pool = variants(Facts(), CARD, ON_A_CARD)
    assert {18, 31, 36, 38} <= {i.number for i in pool} and not {28, 29, 35, 47} & {i.number for i in pool}
    assert [str(p.recipe) for p in groups(pool, ON_A_CARD, {}) if 31 in {i.number for i in p.recipe}] == [
        "31 kernel_fusion(rules=['conv2d+bn'])"
    ]
    assert any({i.number for i in p.recipe} == {36} for p in groups(pool, ON_A_CARD, {}))


def test_what_an_accelerator_rules_out_is_known_by_number() -> None:
    assert {i.number for i in barred(Facts(), CARD, ON_A_CARD)} == {28, 29, 35, 47}
    assert {i.number for i in barred(Facts(), CARD, ON_A_CARD, [28, 36])} == {28}
    assert barred(Facts(), HOST, START) == []


def test_a_processor_spends_no_time_on_graphs_of_launches() -> None:
    assert not any(36 in {i.number for i in p.recipe} for p in groups(variants(Facts(), HOST, START), START, {}))
