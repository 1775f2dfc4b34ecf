"""What is wrong with a step is seen and named; what is merely unusual is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from strop.loop.health import USUAL, Health, Limits

LIMITS = Limits(nan_ratio=1e-5, inf_ratio=1e-6, variance=None, growth=1e4)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1)).train()


def watched(model: nn.Module, limits: Limits = LIMITS) -> Health:
    health = Health({name: module for name, module in model.named_modules() if name}, limits)
    health.begin()
    return health


def step(model: nn.Module, health: Health, scale: float = 1.0, loss: Tensor | None = None, **how: bool) -> str:
    model.zero_grad(set_to_none=True)
    answer = (model(torch.randn(16, 4)).square().mean()) * scale
    answer.backward()
    return health.verdict(list(model.named_parameters()), answer.detach() if loss is None else loss, **how)


def plant(module: nn.Module, value: float, count: int = 1) -> None:
    def hook(module: nn.Module, args: object, answer: Tensor) -> Tensor:
        answer = answer.clone()
        answer.view(-1)[:count] = value
        return answer

    module.register_forward_hook(hook, prepend=True)


def test_a_sound_step_says_nothing() -> None:
    model = net()
    assert step(model, watched(model)) == ""


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "1 answered with 0.781 % NaN"), (float("-inf"), "1 answered with 0.781 % infinities")]
)
def test_the_module_in_which_it_arises_is_named(value: float, words: str) -> None:
    model = net()
    plant(model[1], value)
    assert step(model, watched(model)) == words


def test_a_share_within_the_limit_passes_in_the_answer_but_not_in_the_loss() -> None:
    model = net()
    plant(model[1], float("nan"))
    health = Health({"1": model[1]}, Limits(nan_ratio=0.5, inf_ratio=0.5, variance=None, growth=1e4))
    health.begin()
    assert step(model, health) == "the loss is nan, though every watched module answered soundly"


def test_a_gradient_that_is_not_finite_is_named_by_its_module() -> None:
    model = net()
    model[2].weight.register_hook(lambda grad: grad * float("inf"))  # type: ignore[union-attr]
    health = watched(model)
    assert step(model, health) == "the gradient of 2 holds 100 % infinities"
    assert step(model, health, gradients=False) == ""


def test_an_absolute_variance_is_judged_at_once_and_a_relative_one_after_a_while() -> None:
    model = net()
    assert "has variance" in step(model, watched(model, Limits(nan_ratio=0, inf_ratio=0, variance=1e-12, growth=1e9)))
    model, health = net(), None
    health = watched(model)
    assert step(model, health, scale=1e6) == ""  # nothing is usual yet
    model, health = net(), None
    health = watched(model)
    for _ in range(USUAL):
        assert step(model, health) == ""
    assert step(model, health, scale=5.0) == ""
    assert "has variance" in step(model, health, scale=1e4)
    assert step(model, health) == "", "the alarm did not become usual"


def test_ordinary_gradients_after_a_calm_are_no_alarm() -> None:
    model = net()
    health = watched(model)
    for scale in [1.0] * USUAL + [1e-6] * USUAL:
        assert step(model, health, scale=scale) == ""
    assert step(model, health, scale=1.0) == ""


def test_what_was_usual_survives_saving() -> None:
    model = net()
    health = watched(model)
    for _ in range(USUAL):
        step(model, health)
    other = Health({}, LIMITS)
    other.load_state_dict(health.state_dict())
    assert "has variance" in step(model, other, scale=1e4)


def test_without_hooks_and_in_eval_mode_nothing_is_seen() -> None:
    model = net()
    health = watched(model)
    model.eval()(torch.full((2, 4), float("nan")))
    model.train()
    assert step(model, health) == ""
    health.end()
    assert not any(module._forward_hooks for module in model.modules())
