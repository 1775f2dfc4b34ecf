"""``strop.inline``: what can be given to a loop of one's own is given, the rest refused in words before any work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import strop
from strop.contract.recipe import Recipe
from strop.errors import PrepareError, RecipeError, TrainingError, UsageError
from strop.instructions.data.i06_length_bucketing import LengthBucketing
from strop.instructions.training.i08_lr_scheduler import LrScheduler
from strop.instructions.training.i13_numeric_stability_monitor import NumericStabilityMonitor
from strop.instructions.training.i23_gradient_checkpointing import GradientCheckpointing
from strop.surgery.recompute import Recomputing


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu())


def made() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(Block(), Block()), nn.Linear(4, 1)).train()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


LOADER = [torch.randn(8, 4, generator=torch.Generator().manual_seed(n)) for n in range(10)]


def run(recipe: Any, spoil: int = -1, **settings: Any) -> tuple[nn.Module, list[float], strop.loop.inline.Inline]:  # type: ignore[name-defined]
    model, optimizer = made()
    rates: list[float] = []
    with strop.inline(model, optimizer, recipe=recipe, steps=10, **settings) as s:
        for number, x in enumerate(s.batches(LOADER)):
            rates.append(optimizer.param_groups[0]["lr"])
            with s.step():
                s.backward(model(x * float("nan") if number == spoil else x).square().mean())
    return model, rates, s


def test_a_schedule_is_followed() -> None:
    _, rates, _ = run("strop: 1\ninstructions: {lr_scheduler: {warmup: 0, shape: linear}}\n")
    assert rates == pytest.approx([0.1 * (1 - n / 10) for n in range(10)])


def test_a_monitor_rolls_back_over_a_spoiled_batch() -> None:
    spoiled, _, _ = run(Recipe([NumericStabilityMonitor(snapshot_every=1)]), spoil=4)
    model, optimizer = made()
    for number, x in enumerate(LOADER):
        if number != 4:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(spoiled.parameters(), model.parameters(), strict=True))
    with pytest.raises(TrainingError, match=r"step 5: .* answered with 100 % NaN"):
        run(Recipe([NumericStabilityMonitor(action="halt")]), spoil=4)


def test_blocks_are_recomputed_with_the_same_result() -> None:
    plain, *_ = run(Recipe())
    other, *_ = run(Recipe([GradientCheckpointing()]))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))
    assert isinstance(vars(other.get_submodule("0.0"))["forward"], Recomputing)


def test_a_state_goes_on_where_it_was_taken() -> None:
    model, rates, s = run(Recipe([LrScheduler()]))
    again, _, t = run(Recipe([LrScheduler()]))
    t.load_state_dict(s.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert rates[0] != rates[-1]


@pytest.mark.parametrize(
    ("recipe", "kind", "words"),
    [
        (Recipe([LengthBucketing()]), PrepareError, "length_bucketing: declined: the workload does not say how long"),
        (
            Recipe([GradientCheckpointing(share=0.5)]),
            PrepareError,
            "chooses blocks by measuring, and a loop of your own gives no",
        ),
        ("strop: 1\ninstructions: {dynamic_quantization: {}}\n", RecipeError, "needs"),
    ],
)
def test_what_cannot_be_given_is_refused_in_words(recipe: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        run(recipe)


def test_an_instruction_that_replaces_what_the_loop_keeps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_data(self: Any, draft: Any, tally: Any) -> None:
        draft.training.batches = lambda epoch: [[0]]

    def at_loop(self: Any, draft: Any, tally: Any) -> None:
        draft.training.on("after_loss", print)

    monkeypatch.setattr(LrScheduler, "at_data", at_data, raising=False)
    with pytest.raises(RecipeError, match=r"lr_scheduler acts on batches of the training.*call strop\.train"):
        run(Recipe([LrScheduler()]))
    monkeypatch.delattr(LrScheduler, "at_data")
    monkeypatch.setattr(LrScheduler, "at_loop", at_loop, raising=False)
    with pytest.raises(RecipeError, match="lr_scheduler acts on after_loss"):
        run(Recipe([LrScheduler()]))


def test_an_optimizer_of_another_model_and_no_steps_are_refused() -> None:
    model, _ = made()
    with pytest.raises(UsageError, match="parameters that are not the model's"):
        strop.inline(model, made()[1], recipe=Recipe(), steps=1)
    with pytest.raises(UsageError, match="steps must be at least 1, got 0"):
        strop.inline(*made(), recipe=Recipe(), steps=0)
