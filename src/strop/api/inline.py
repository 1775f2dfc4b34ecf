"""Give a recipe to a training loop of the caller's own, as far as that can be done from inside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from strop.catalogue import read_recipe
from strop.contract.draft import Draft
from strop.contract.moment import Moment
from strop.contract.quality import unjudged
from strop.contract.recipe import Recipe
from strop.contract.ties import Trait
from strop.contract.training import Training
from strop.contract.workload import TrainingWorkload
from strop.errors import PrepareError, RecipeError, UsageError
from strop.loop.inline import UNSEEN, Inline
from strop.loop.intents import training_of
from strop.loop.step import Stepper
from strop.measure.host import read_host
from strop.pipeline import legal, walk
from strop.surgery.facts import read_facts

OWN = ("data", "batches", "collate", "forward", "loss", "items", "split", "driver")
"""What of a training a loop of one's own keeps to itself."""


def inline(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    recipe: str | Path | Recipe,
    steps: int,
    max_norm: float | None = None,
    seed: int = 0,
) -> Inline:
    """Return what a recipe can give to a loop that calls model and loss itself.

    Args:
        model: changed in place where the recipe changes models; it may be in torch's DistributedDataParallel already.
        optimizer: of the model's parameters.
        recipe: a recipe, its YAML, or a file that holds it.
        steps: optimizer steps planned, which a schedule needs.
        max_norm: gradients are clipped to this norm; ``None``: not.
        seed: of the instructions' random choices.

    Raises:
        RecipeError: an instruction changes what only the loop itself can; the message names both.
        PrepareError: an instruction declined.
        UsageError: the optimizer holds other parameters.
    """
    own = {id(parameter) for parameter in model.parameters()}
    if any(id(p) not in own for group in optimizer.param_groups for p in group["params"]):
        raise UsageError("the optimizer holds parameters that are not the model's; build it from model.parameters().")
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}.")
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    draft = _draft(model, optimizer, steps, max_norm, seed)
    ranks = {Trait.RANKS} if isinstance(model, DistributedDataParallel) else set()
    problem = legal(chosen, draft.workload.traits | ranks)
    if problem:
        raise RecipeError(f"{problem}.")
    for instruction in chosen:
        reason = instruction.decline(draft, read_host(accelerators=True))
        if reason:
            raise PrepareError(f"{instruction.name}: declined: {reason}")
    assert draft.training is not None
    _walk(draft, draft.training, chosen)
    device = next((str(p.device) for p in model.parameters()), "cpu")
    stepper = Stepper(draft.model, draft.training, device)
    stepper.prepare(steps)
    return Inline(stepper)


ANEW = "Build model and optimizer anew before you try again: the recipe may have changed them already."
"""Else an instruction would be applied to them twice."""


def _draft(model: nn.Module, optimizer: Optimizer, steps: int, max_norm: float | None, seed: int) -> Draft:
    workload = TrainingWorkload(
        name="inline",
        model=lambda: model,
        data=(None,),
        collate=_own("collate"),
        forward=_own("forward"),
        loss=_own("loss"),
        optimizer=lambda _: optimizer,
        metric=unjudged("the caller's own loop judges"),
        batch_size=1,
        epochs=steps,
        steps=steps,
        max_norm=max_norm,
    )
    training = training_of(workload, seed)
    training.data = ()
    return Draft(model=model, workload=workload, facts=read_facts(model, workload), seed=seed, training=training)


def _walk(draft: Draft, training: Training, recipe: Recipe) -> None:
    """Walk the recipe, one instruction at a time, and refuse what a loop of one's own cannot take."""
    model = draft.model
    for moment in (m for m in Moment if m <= Moment.LOOP):
        for instruction in recipe:
            before, seen = {name: getattr(training, name) for name in OWN}, len(training.handlers)
            walk(draft, Recipe([instruction]), moment, since=moment)
            changed = [name for name, value in before.items() if getattr(training, name) is not value]
            changed += [event for event, _ in training.handlers[seen:] if event in UNSEEN]
            changed += ["model"] if draft.model is not model else []
            if changed:
                raise RecipeError(
                    f"{instruction.name} acts on {', '.join(changed)} of the training, which a loop of your own keeps to itself; "
                    f"leave it out, or describe the training as a strop.TrainingWorkload and call strop.train. {ANEW}"
                )


def _own(what: str) -> Callable[..., Any]:
    def refuse(*args: object) -> NoReturn:
        raise RecipeError(f"an instruction of the recipe asks for {what}, which a loop of your own keeps to itself. {ANEW}")

    return refuse
