"""A student takes the model's place, learns from it once, and every recipe that holds it shares what it learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strop.contract.draft import Draft
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.contract.workload import Split
from strop.instructions.deployment.i47_model_serving_framework import ModelServingFramework
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.instructions.inference.i34_knowledge_distillation import KnowledgeDistillation
from strop.instructions.training.i08_lr_scheduler import LrScheduler
from strop.measure.host import Host, read_host
from strop.pipeline import Outcome, Preparation, legal, prepare, train
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import Deep, deep_draft, mlp_draft, training_draft

HOST = Host(cpu="test", cores=2)


def built(**settings: int) -> nn.Module:
    torch.manual_seed(0)
    return Deep(**settings)


def twin() -> Draft:
    """A workload whose student is the model itself."""
    return deep_draft(parts={"student": built})


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=KnowledgeDistillation(),
        draft=deep_draft,
        foreign=mlp_draft,
        idle=(KnowledgeDistillation(steps=0), twin),
    )


def prepared(draft: Draft, *more: Any, folder: Path, **settings: Any) -> Preparation:
    return prepare(draft, Recipe([KnowledgeDistillation(**settings), *more]), HOST, folder / "artefact")


def answers(draft: Draft) -> torch.Tensor:
    training = draft.workload.training  # type: ignore[union-attr]
    assert training is not None
    with torch.no_grad():
        return torch.cat([draft.model(row) for row in training.inputs])


def test_the_student_has_half_the_layers_and_answers_more_like_the_model_than_a_cut_one(tmp_path: Path) -> None:
    whole, cut, student = answers(deep_draft()), deep_draft(), deep_draft()
    done = prepared(student, folder=tmp_path, epochs=30, learning_rate=1e-2, weights=(1, 1, 0))
    assert prepared(cut, folder=tmp_path, steps=0).outcome is Outcome.PREPARED
    assert len(student.model.blocks) == 2 and not student.model.training
    assert done.tallies == {"knowledge_distillation": {"layers removed": 2, "steps learned": 90}}
    assert (answers(student) - whole).square().mean() < 0.3 * (answers(cut) - whole).square().mean()


def test_true_labels_count_where_there_are_any(tmp_path: Path) -> None:
    draft = deep_draft()
    labels = torch.tensor(draft.workload.training.labels)  # type: ignore[union-attr]
    prepared(draft, folder=tmp_path, epochs=40, learning_rate=1e-2, weights=(0, 0, 1))
    assert float((answers(draft).argmax(1) == labels).float().mean()) > 0.8


def test_without_labels_the_original_is_all_there_is_to_learn_from(tmp_path: Path) -> None:
    inputs = deep_draft().workload.training.inputs  # type: ignore[union-attr]
    done = prepared(deep_draft(training=Split(inputs=inputs)), folder=tmp_path)
    assert done.outcome is Outcome.PREPARED and done.tallies["knowledge_distillation"]["steps learned"] == 9


@pytest.mark.parametrize("layers", [1, 3])
def test_as_many_layers_stay_as_are_asked_for(layers: int, tmp_path: Path) -> None:
    draft = deep_draft()
    done = prepared(draft, folder=tmp_path, layers=layers, steps=1)
    assert len(draft.model.blocks) == layers
    assert done.tallies["knowledge_distillation"]["layers removed"] == 4 - layers


def test_a_given_student_takes_the_place_and_a_given_teacher_teaches(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wise = Deep(blocks=6).eval()
    draft = deep_draft(parts={"student": lambda: built(blocks=1, width=8), "teacher": lambda: wise})
    done = prepared(draft, folder=tmp_path, epochs=60, learning_rate=1e-2, weights=(1, 0.1, 0))
    assert done.tallies["knowledge_distillation"]["parameters fewer"] > 0 and draft.model.up.out_features == 8
    training = draft.workload.training  # type: ignore[union-attr]
    assert training is not None
    with torch.no_grad():
        wanted, plain = torch.cat([wise(row) for row in training.inputs]), answers(deep_draft())
    found = answers(draft).argmax(1)
    assert (found == wanted.argmax(1)).float().mean() > (found == plain.argmax(1)).float().mean() + 0.2


def test_a_teacher_as_large_as_the_student_is_no_reason_to_decline() -> None:
    draft = deep_draft(parts={"teacher": built})
    assert KnowledgeDistillation(layers=4).decline(draft, HOST) is None


@pytest.mark.parametrize(
    ("settings", "changes", "reason"),
    [
        ({}, {"training": None}, "no training split"),
        ({}, {"training": Split(inputs=())}, "no training split"),
        ({"layers": 4}, {}, "all 4 layers would stay"),
        ({"layers": 5}, {}, "layers=5 are asked for, and the model has 4"),
        ({"weights": (0, 0, 1)}, {"training": Split(inputs=[torch.zeros(1, 8)])}, "no labels"),
        ({}, {"training": Split(inputs=[torch.zeros(1, 8)], labels=[0.5])}, "not class numbers"),
    ],
)
def test_it_declines_in_words(settings: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    assert reason in str(KnowledgeDistillation(**settings).decline(deep_draft(**changes), HOST))


def test_a_model_without_a_stack_is_declined_and_a_given_student_is_not() -> None:
    draft, split = mlp_draft(), Split(inputs=[torch.zeros(1, 16)])
    draft.workload = replace(draft.workload, training=split)  # type: ignore[arg-type]
    assert "no stack of like blocks" in str(KnowledgeDistillation().decline(draft, HOST))
    draft.workload = replace(draft.workload, parts={"student": built})  # type: ignore[arg-type]
    assert KnowledgeDistillation().decline(draft, HOST) is None


def test_a_student_of_too_few_layers_is_a_failure_in_words(tmp_path: Path) -> None:
    draft = deep_draft(parts={"student": lambda: built(blocks=2)})
    done = prepared(draft, folder=tmp_path, layers=3)
    assert done.outcome is Outcome.FAILED and "the student has 2" in done.reason


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"weights": (-1, 0, 1)}, "weights"),
        ({"weights": (0, 0, 0)}, "weights"),
        ({"temperature": 0.0}, "temperature"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"layers": 0}, "layers"),
        ({"epochs": 0}, "epochs"),
        ({"steps": -1}, "steps"),
        ({"batch": 0}, "batch"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        KnowledgeDistillation(**settings)


def test_it_needs_a_teacher_and_something_to_learn_from() -> None:
    recipe = Recipe([KnowledgeDistillation()])
    assert legal(recipe, deep_draft().workload.traits) is None
    assert str(Trait.TEACHER) in str(legal(recipe, mlp_draft().workload.traits))
    assert str(Trait.TEACHER) in str(legal(recipe, training_draft().workload.traits))


def test_its_cost_is_known_beforehand_and_follows_what_it_will_do() -> None:
    facts, fast = deep_draft().facts, replace(HOST, isa=frozenset({"avx512_bf16"}))
    default = KnowledgeDistillation().passes(facts, HOST)
    assert default == 1 + 3 * 3 / 2
    assert KnowledgeDistillation(layers=1).passes(facts, HOST) == 1 + 3 * 3 / 4
    assert KnowledgeDistillation(epochs=6).passes(facts, HOST) > 1.5 * default
    assert KnowledgeDistillation().passes(mlp_draft().facts, HOST) == 1 + 3 * 3, "a given student may be as large as the model"
    assert KnowledgeDistillation().passes(facts, fast) == default / 2


def test_a_third_of_the_layers_is_worth_trying_where_there_are_enough() -> None:
    facts = deep_draft().facts
    assert facts.depth == 4
    assert KnowledgeDistillation().space(facts, HOST) == {"layers": (None, 1)}
    assert KnowledgeDistillation().space(replace(facts, depth=12), HOST) == {"layers": (None, 4)}
    assert KnowledgeDistillation().space(replace(facts, depth=2), HOST) == {}


def test_int8_and_a_student_are_one_recipe(tmp_path: Path) -> None:
    recipe = [StaticQuantization(), ModelServingFramework()]
    draft = deep_draft()
    done = prepared(draft, *recipe, folder=tmp_path)
    assert done.outcome is Outcome.PREPARED and done.engine == "openvino"
    assert all(sum(counts.values()) > 0 for name, counts in done.tallies.items() if name != "model_serving_framework")


class TestTraining:
    """In a training workload the workload's own data, optimizer and length stay."""

    def test_the_teacher_is_named_and_the_model_learns_from_it(self) -> None:
        draft = training_draft(parts={"teacher": lambda: training_draft().model})
        done = train(draft, Recipe([KnowledgeDistillation(weights=(0.5, 0, 0.5)), LrScheduler()]), HOST)
        assert done.outcome is Outcome.PREPARED
        assert done.tallies["knowledge_distillation"] == {"steps learned": 6}

    def test_a_named_student_takes_the_models_place_and_its_optimizer_is_built_from_it(self) -> None:
        student = training_draft().model
        before = [p.detach().clone() for p in student.parameters()]
        draft = training_draft(parts={"student": lambda: student})
        train(draft, Recipe([KnowledgeDistillation(weights=(0.5, 0, 0.5))]), HOST)
        assert draft.model is student
        assert any(not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))

    def test_all_the_weight_on_the_truth_is_the_plain_training(self) -> None:
        plain, draft = training_draft(), training_draft(parts={"teacher": lambda: training_draft().model})
        train(plain, Recipe(), HOST)
        train(draft, Recipe([KnowledgeDistillation(weights=(0, 0, 1))]), HOST)
        for one, other in zip(plain.model.parameters(), draft.model.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_without_teacher_and_student_it_declines(self) -> None:
        assert "neither a student nor a teacher" in str(KnowledgeDistillation().decline(training_draft(), HOST))


def test_bfloat16_is_used_where_the_processor_has_units_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from strop.instructions.inference import i34_knowledge_distillation as module

    found = []
    for isa in (frozenset[str](), frozenset({"avx512_bf16"})):
        monkeypatch.setattr(module, "read_host", lambda isa=isa: replace(read_host(), isa=isa))
        draft = deep_draft()
        prepared(draft, folder=tmp_path)
        found.append(answers(draft).numpy())
    assert not np.array_equal(*found) and np.allclose(*found, atol=0.05)
