"""Planted NaN, infinities and variance are caught at their step, naming their module; clean runs raise no alarm."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strop.contract.draft import Draft
from strop.contract.loop_event import LoopEvent
from strop.contract.recipe import Recipe
from strop.contract.training import Loop, LossScale
from strop.errors import TrainingError
from strop.instructions.training.i08_lr_scheduler import LrScheduler
from strop.instructions.training.i13_numeric_stability_monitor import PATIENCE, NumericStabilityMonitor
from strop.measure.host import Host
from strop.pipeline import Preparation, train
from strop.testing.case import LawCase
from strop.testing.laws import InstructionLaws
from strop.testing.models import training_draft

HOST = Host(cpu="test", cores=2)
MONITOR = NumericStabilityMonitor(snapshot_every=2)


class TestLaws(InstructionLaws):
    case = LawCase(
        instruction=MONITOR,
        draft=training_draft,
        declined=NumericStabilityMonitor(checkpoints=("attention_score",)),
        idle=(NumericStabilityMonitor(checkpoints=("attention_score",)), training_draft),
    )


def plant_answer(draft: Draft, module: str, step: int, value: float) -> None:
    """Let a module answer with one planted element in one step."""
    now = [-1]
    assert draft.training is not None
    draft.training.on(
        LoopEvent.BATCH, lambda loop: now.__setitem__(0, loop.step if (loop.epoch, loop.place) == where(step) else -1)
    )

    def hook(owner: nn.Module, args: Any, answer: Tensor) -> Tensor:
        if now[0] < 0 or not owner.training:
            return answer
        spoiled = answer.clone()
        spoiled.view(-1)[0] = value
        return spoiled

    draft.model.get_submodule(module).register_forward_hook(hook)


def plant_gradient(draft: Draft, parameter: str, step: int, factor: float) -> None:
    """Multiply one gradient in one step."""
    assert draft.training is not None

    def spoil(loop: Loop) -> None:
        if (loop.epoch, loop.place) == where(step):
            grad = loop.model.get_parameter(parameter).grad
            assert grad is not None
            grad.mul_(factor)

    draft.training.on(LoopEvent.AFTER_BACKWARD, spoil)


def where(step: int) -> tuple[int, int]:
    """Return epoch and place of the step number ``step``, from 1, of three a epoch."""
    return (step - 1) // 3, (step - 1) % 3


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize(("value", "what"), [(float("nan"), "NaN"), (float("inf"), "infinities")])
@pytest.mark.parametrize("module", ["norm", "mlp.act", "head"])
def test_a_planted_value_halts_at_its_step_naming_its_module(step: int, value: float, what: str, module: str) -> None:
    draft = training_draft()
    plant_answer(draft, module, step, value)
    with pytest.raises(TrainingError, match=rf"step {step}: {module} answered with .* {what}\. Training was halted"):
        train(draft, Recipe([NumericStabilityMonitor(action="halt")]), HOST)


@pytest.mark.parametrize("step", [30, 60])
def test_a_planted_variance_halts_at_its_step_naming_its_module(step: int) -> None:
    draft = training_draft(epochs=30, optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=1e-4))
    plant_gradient(draft, "mlp.up.weight", step, 1e4)
    with pytest.raises(TrainingError, match=rf"step {step}: the gradient of mlp\.up has variance"):
        train(draft, Recipe([NumericStabilityMonitor(action="halt")]), HOST)


def test_a_limit_in_absolute_terms_is_kept_too() -> None:
    draft = training_draft()
    with pytest.raises(TrainingError, match=r"step 1: the gradient of .* has variance"):
        train(draft, Recipe([NumericStabilityMonitor(action="halt", gradient_variance=1e-12)]), HOST)


def watched(draft: Draft) -> tuple[Preparation, list[dict[str, Any]]]:
    """Train with the monitor and a schedule; return also the state at the end of each step."""
    from strop.loop.state import copied

    states: list[dict[str, Any]] = []
    assert draft.training is not None
    draft.training.on(LoopEvent.BATCH, lambda loop: states.append(copied(loop.state_dict())))
    return train(draft, Recipe([MONITOR, LrScheduler()]), HOST), states


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_roll_back_returns_to_the_last_good_snapshot_bit_for_bit() -> None:
    draft = training_draft()
    plant_answer(draft, "norm", 4, float("nan"))
    done, states = watched(draft)
    counts = done.tallies["numeric_stability_monitor"]
    assert (counts["alarms"], counts["roll-backs"]) == (1, 1)
    # Batches 0 1 2 3, alarm in 3 (the fourth), back to the snapshot before batch 2, and on without batch 3.
    assert [(s["place"]["epoch"], s["place"]["place"]) for s in states] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (0, 2),
        (1, 1),
        (1, 2),
    ]
    before, after = states[2], states[4]
    assert all(equal(before[part], after[part]) for part in ("model", "optimizer", "schedule", "random", "kept"))
    assert all(bool(torch.isfinite(value).all()) for value in draft.model.state_dict().values())


def test_training_after_a_roll_back_is_training_without_the_batch() -> None:
    poisoned, clean = training_draft(), training_draft()
    plant_answer(poisoned, "norm", 5, float("nan"))
    assert clean.training is not None
    batches = clean.training.batches
    clean.training.batches = lambda epoch: [b for n, b in enumerate(batches(epoch)) if (epoch, n) != where(5)]
    train(poisoned, Recipe([MONITOR]), HOST)
    train(clean, Recipe([MONITOR]), HOST)
    assert equal(dict(poisoned.model.state_dict()), dict(clean.model.state_dict()))


def test_a_fault_that_stays_halts_after_some_patience() -> None:
    draft = training_draft(epochs=5)
    draft.model.get_submodule("head").register_forward_hook(lambda module, args, answer: answer * float("nan"))
    with pytest.raises(TrainingError, match=rf"head answered with 100 % NaN\. It was the {PATIENCE + 1}th alarm since step 0"):
        train(draft, Recipe([MONITOR]), HOST)


def test_an_overflow_under_a_loss_scale_is_the_scale_s_business() -> None:
    draft = training_draft()
    assert draft.training is not None
    draft.training.loss_scale = LossScale(initial=8.0)
    plant_gradient(draft, "head.weight", 2, float("inf"))
    done = train(draft, Recipe([MONITOR]), HOST)
    assert done.tallies["numeric_stability_monitor"]["sound steps"] == 6


class Dropping(nn.Module):
    """Draws random numbers, which watching must not."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop = training_draft().model, nn.Dropout(0.3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.drop(self.inner(input_ids, attention_mask)["logits"])}


def test_watching_a_clean_run_changes_no_bit_of_it() -> None:
    plain, watched_too = training_draft(model=Dropping), training_draft(model=Dropping)
    train(plain, Recipe(), HOST)
    train(watched_too, Recipe([MONITOR]), HOST)
    assert equal(dict(plain.model.state_dict()), dict(watched_too.model.state_dict()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_clean_run_raises_no_alarm(seed: int) -> None:
    draft = training_draft(epochs=100)
    draft.seed = seed
    done = train(draft, Recipe([MONITOR]), HOST)
    counts = done.tallies["numeric_stability_monitor"]
    assert counts["sound steps"] == 300 and "alarms" not in counts


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("layer_norm",), {"norm"}),
        (("mlp",), {"mlp", "mlp.up", "mlp.act", "mlp.down"}),
        (("qkv", "HEAD"), {"qkv", "head"}),
        ((), {"embed", "norm", "qkv", "mix", "mlp.up", "mlp.act", "mlp.down", "head"}),
    ],
)
def test_modules_are_watched_by_name_or_class(words: tuple[str, ...], names: set[str]) -> None:
    draft = training_draft()
    assert set(NumericStabilityMonitor(checkpoints=words)._watched(draft.model)) == names


def test_the_hooks_are_gone_after_training_however_it_ends() -> None:
    for act in (lambda draft: None, lambda draft: plant_answer(draft, "norm", 2, float("nan"))):
        draft = training_draft()
        act(draft)  # type: ignore[no-untyped-call]
        before = sum(len(module._forward_hooks) for module in draft.model.modules())
        with contextlib.suppress(TrainingError):
            train(draft, Recipe([NumericStabilityMonitor(action="halt")]), HOST)
        assert sum(len(module._forward_hooks) for module in draft.model.modules()) == before


@pytest.mark.parametrize(
    "settings", [{"nan_ratio": 1.0}, {"inf_ratio": -0.1}, {"snapshot_every": 0}, {"gradient_growth": 1.0}], ids=str
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        NumericStabilityMonitor(**settings)


def clipped(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[list[Tensor], list[float], int]:
    """Train with clipping; return weights, norms, and how often the gradients' norms were taken."""
    draft, norms, taken = training_draft(max_norm=0.3, **changes), list[float](), list[int]()
    assert draft.training is not None
    draft.training.on(LoopEvent.BEFORE_STEP, lambda loop: norms.append(float(loop.norm if loop.norm is not None else torch.nan)))
    plain = torch._foreach_norm
    with monkeypatch.context() as patch:
        patch.setattr(torch, "_foreach_norm", lambda *a, **k: (taken.append(1), plain(*a, **k))[1])
        train(draft, recipe, HOST)
    return list(draft.model.state_dict().values()), norms, len(taken)


def test_clipping_takes_over_the_norms_that_the_monitor_took_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, norms, once = clipped(Recipe(), monkeypatch)
    watched, same, again = clipped(Recipe([MONITOR]), monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(weights, watched, strict=True)) and norms == same
    assert once == again == len(norms) == 6 and min(norms) > 0.3
    idle = nn.Parameter(torch.ones(3))  # a parameter that gets no gradient has no norm

    def build() -> nn.Module:
        model = training_draft().model
        model.register_parameter("idle", idle)
        return model

    assert clipped(Recipe([MONITOR]), monkeypatch, model=build)[1] == norms


def test_gradients_that_change_after_the_look_are_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(recipe: Recipe) -> list[float]:
        draft, norms = training_draft(max_norm=0.3), list[float]()
        assert draft.training is not None

        def double(loop: Loop) -> None:
            torch._foreach_mul_([p.grad for p in loop.model.parameters() if p.grad is not None], 2.0)
            loop.norms = None

        draft.training.on(LoopEvent.FIT_START, lambda loop: loop.training.on(LoopEvent.GRADS_READY, double))
        draft.training.on(LoopEvent.BEFORE_STEP, lambda loop: norms.append(float(loop.norm if loop.norm is not None else 0)))
        train(draft, recipe, HOST)
        return norms

    assert doubled(Recipe([MONITOR])) == doubled(Recipe())
