"""What the student is taught: identities of the three losses, and a teacher that nothing touches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Training
from strop.contract.workload import Split
from strop.errors import PrepareError
from strop.loop import distill as module
from strop.loop.distill import Distiller, Weights, first_tensor, softened
from strop.loop.loop import TrainingLoop
from strop.loop.state import packed, unpacked
from strop.loop.transfer import transfer
from strop.testing.models import Deep, Mlp

ROWS = torch.randn(48, 8, generator=torch.Generator().manual_seed(3))
SPLIT = Split(inputs=[row[None] for row in ROWS], labels=[n % 3 for n in range(48)])


def built(**settings: int) -> Deep:
    torch.manual_seed(0)
    return Deep(**settings)


def planned(**changes: Any) -> Training:
    settings = {"seed": 0, "batch": 8, "epochs": 2, "steps": None, "learning_rate": 1e-2, "labelled": True}
    return transfer(SPLIT, **{**settings, **changes})


def taught(weights: Weights, teacher: nn.Module, student: nn.Module, plan: Training | None = None, **how: Any) -> list[float]:
    """Train the student; return the loss of every step."""
    plan, losses = plan or planned(), list[float]()
    how = {"constant": True, "temperature": 2.0, **how}
    Distiller(teacher, weights, how["temperature"], constant=how["constant"]).join(plan, "distil")
    plan.on(LoopEvent.STEP_END, lambda loop: losses.append(float(loop.step_loss)))
    with TrainingLoop(student, plan, seed=0) as loop:
        loop.run()
    return losses


def weights_of(model: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_without_a_teachers_weight_training_is_the_plain_one_bit_for_bit() -> None:
    plain, student = built(blocks=2), built(blocks=2)
    with TrainingLoop(plain, planned(), seed=0) as loop:
        loop.run()
    taught(Weights(0, 0, 1), built(), student, constant=False)
    assert same(weights_of(plain), weights_of(student))


def test_a_student_that_is_the_teacher_has_nothing_to_learn_from_it() -> None:
    student = built()
    before = weights_of(student)
    losses = taught(Weights(0.5, 0.5, 0), built(), student, planned(learning_rate=0.0))
    assert losses == pytest.approx([0.0] * len(losses), abs=1e-6)
    assert same(before, weights_of(student))


def test_softened_classes_of_equal_logits_do_not_differ() -> None:
    logits = torch.randn(5, 7)
    assert float(softened(logits, logits, 3.0)) == pytest.approx(0.0, abs=1e-6)


def test_softened_is_the_divergence_from_teacher_to_student_written_out() -> None:
    student, teacher = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    p, q = (functional.softmax(x / 2, dim=-1) for x in (teacher, student))
    assert float(softened(student, teacher, 2.0)) == pytest.approx(float(4 * (p * (p / q).log()).sum(-1).mean()), rel=1e-5)


def test_the_size_of_gradients_does_not_depend_on_the_temperature() -> None:
    sizes = []
    for temperature in (20.0, 40.0, 80.0):
        student = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
        softened(student, torch.randn(64, 5, generator=torch.Generator().manual_seed(1)), temperature).backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03) and sizes[2] == pytest.approx(sizes[1], rel=0.03)


def test_the_teacher_is_frozen_in_eval_mode_asked_without_gradients_and_left_as_it_was() -> None:
    teacher, asked = built(), list[tuple[bool, bool]]()
    teacher.append = nn.Dropout(0.5)
    teacher.train()
    before = weights_of(teacher)
    teacher.register_forward_pre_hook(lambda model, args: asked.append((model.training, torch.is_grad_enabled())))
    taught(Weights(0.4, 0.3, 0.3), teacher, built(blocks=2), constant=False)
    assert asked and set(asked) == {(False, False)}
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert same(before, weights_of(teacher))


@pytest.mark.parametrize("weights", [Weights(1, 0, 0), Weights(0, 1, 0)], ids=["classes", "hidden states"])
def test_each_loss_alone_brings_the_student_nearer_to_the_teacher(weights: Weights) -> None:
    losses = taught(weights, built(), built(blocks=2), planned(epochs=12))
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])


def test_the_sum_is_weighted_as_asked() -> None:
    def first(weights: Weights) -> float:
        return taught(weights, built(), built(blocks=2), planned(steps=1))[0]

    parts = [first(Weights(*row)) for row in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert first(Weights(0.4, 0.3, 0.3)) == pytest.approx(0.4 * parts[0] + 0.3 * parts[1] + 0.3 * parts[2], rel=1e-5)


def test_one_loss_per_sample_and_a_mean_are_taught_the_same() -> None:
    mean = planned()
    loss = mean.loss
    mean.loss = lambda outputs, batch: loss(outputs, batch).mean()
    students = [built(blocks=2), built(blocks=2)]
    for student, plan in zip(students, (planned(), mean), strict=True):
        taught(Weights(0.4, 0.3, 0.3), built(), student, plan)
    for one, other in zip(weights_of(students[0]), weights_of(students[1]), strict=True):
        torch.testing.assert_close(one, other)


def test_student_blocks_are_held_against_teacher_blocks_at_the_same_share_of_the_depth() -> None:
    """A student made of the teacher's second and fourth block in its own places, with the first and third made idle."""
    teacher, student = built(), built(blocks=2)
    found = Distiller(teacher, Weights(0, 1, 0), 1.0, constant=True)
    plan = planned()
    found.join(plan, "distil")
    plan.optimizer(student)
    answer = found.answer(plan, plan.collate([plan.data[0]]))
    x = teacher.up(ROWS[:1])
    states = []
    for block in teacher.blocks:
        x = block(x)
        states.append(x)
    assert [state.equal(wanted) for state, wanted in zip(answer.hidden, (states[1], states[3]), strict=True)] == [True, True]


def test_a_narrower_student_learns_through_a_projection_that_is_trained_and_survives_a_checkpoint() -> None:
    def run(student: nn.Module, cut: bool) -> list[Tensor]:
        plan = planned()
        Distiller(built(), Weights(0, 1, 0), 1.0, constant=True).join(plan, "distil")
        with TrainingLoop(student, plan, seed=0) as loop:
            if cut:
                loop.run(5)
                state = packed(loop.state_dict())
                return [state]  # type: ignore[list-item]
            loop.run()
            return weights_of(student)

    whole = run(built(blocks=2, width=12), cut=False)
    ((tensors, form),) = run(built(blocks=2, width=12), cut=True)  # type: ignore[misc]
    assert {tuple(v.shape) for k, v in tensors.items() if ".distil." in k} == {(16, 12), (16,)}
    plan, student = planned(), built(blocks=2, width=12)
    Distiller(built(), Weights(0, 1, 0), 1.0, constant=True).join(plan, "distil")
    with TrainingLoop(student, plan, seed=0) as loop:
        loop.load_state_dict(unpacked(form, tensors))
        loop.run()
    assert same(whole, weights_of(student))


def test_projections_learn_too() -> None:
    plan, taught_by = planned(), Distiller(built(), Weights(0, 1, 0), 1.0, constant=True)
    taught_by.join(plan, "distil")
    with TrainingLoop(built(blocks=2, width=12), plan, seed=0) as loop:
        before = {name: value.clone() for name, value in taught_by.state_dict().items()}
        loop.run()
    after = taught_by.state_dict()
    assert len(before) == 4 and not any(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(("limit", "asked"), [(2**30, 6 + 1), (0, 12 + 1)], ids=["remembered", "no room"])
def test_what_the_teacher_said_to_a_batch_is_remembered_while_there_is_room(
    limit: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", limit)
    teacher, calls = built(), list[int]()
    teacher.register_forward_hook(lambda *_: calls.append(1))
    remembered = built(blocks=2)
    taught(Weights(0.5, 0.5, 0), teacher, remembered)
    assert len(calls) == asked, "two epochs of six batches, and one look before"
    fresh = built(blocks=2)
    monkeypatch.setattr(module, "REMEMBERED", 2**30 - limit)
    taught(Weights(0.5, 0.5, 0), built(), fresh)
    assert same(weights_of(remembered), weights_of(fresh)), "and it changes nothing"


def test_hooks_and_mode_are_as_before_whatever_happens() -> None:
    student, plan = built(blocks=2), planned()

    def fail(loop: Any) -> None:
        raise RuntimeError("planted")

    plan.on(LoopEvent.BEFORE_STEP, fail)
    with pytest.raises(RuntimeError, match="planted"):
        taught(Weights(0.4, 0.3, 0.3), built(), student, plan)
    assert student.training and not any(m._forward_hooks for m in student.modules())


def test_a_constant_student_learns_in_eval_mode_and_another_in_training_mode() -> None:
    for constant in (True, False):
        plan, modes = planned(), list[bool]()
        plan.on(LoopEvent.AFTER_FORWARD, lambda loop, modes=modes: modes.append(loop.model.training))  # type: ignore[misc]
        taught(Weights(1, 0, 0), built(), built(blocks=2), plan, constant=constant)
        assert set(modes) == {not constant}


@pytest.mark.parametrize(
    ("teacher", "student", "weights", "problem"),
    [
        (Deep(), Deep(classes=4), Weights(1, 0, 0), r"student answers \[8, 4\] where the teacher answers \[8, 3\]"),
        (Deep(), nn.Sequential(nn.Linear(8, 3)), Weights(0.5, 0.5, 0), r"no stack of like blocks.*weights=\(0\.6, 0, 0\.4\)"),
        (nn.Sequential(nn.Linear(8, 3)), Deep(), Weights(0, 1, 0), "no stack of like blocks"),
        (Deep(), nn.Sequential(nn.Linear(8, 3), nn.Flatten(0)), Weights(1, 0, 0), r"shape \[24\]"),
    ],
    ids=["classes", "student without blocks", "teacher without blocks", "no classes"],
)
def test_answers_that_cannot_be_compared_are_refused_before_any_step(
    teacher: nn.Module, student: nn.Module, weights: Weights, problem: str
) -> None:
    with pytest.raises(PrepareError, match=problem):
        taught(weights, copy.deepcopy(teacher), student)


def test_the_first_tensor_is_found_in_any_answer() -> None:
    x = torch.zeros(2, 3)
    assert all(first_tensor(answer) is x for answer in (x, (x, None), {"loss": None, "logits": x}))
    with pytest.raises(PrepareError, match="no tensor"):
        first_tensor({"loss": None})


def test_a_model_without_a_stack_can_teach_its_classes() -> None:
    plan = planned()
    plan.forward = lambda model, batch: model(torch.cat([batch.call[0][0]] * 2, dim=1))
    losses = taught(Weights(1, 0, 0), Mlp(), Mlp(), plan)
    assert losses[-1] < losses[0]
