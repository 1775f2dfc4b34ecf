"""Instruction 08: learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Shape = Literal["cosine", "linear", "one_cycle", "constant"]
START = 25.0
"""A one-cycle schedule starts at the peak divided by this (Smith and Topin's default, as in torch)."""


@final
@dataclass(frozen=True, kw_only=True)
class LrScheduler(Instruction):
    """Warm the learning rate up and let it decay over the planned steps.

    What it does:
        Multiplies each parameter group's own rate by one factor per optimizer step. It rises evenly over the first
        ``warmup`` of the steps and then falls along ``shape`` to ``final`` of the peak; ``one_cycle`` rises and falls along
        half cosines, from a 25th of the peak. Steps are optimizer steps: micro-batches do not count, nor do steps that a
        loss scale left out. The planned steps are those of the batches as they are after all other instructions.

    Why it helps:
        Small first steps keep the statistics of a fresh optimizer from throwing pretrained weights away, which permits a
        higher peak; small last steps settle into a minimum instead of jumping around it. The same quality is reached in
        fewer steps.

    When it does not:
        Runs of a few dozen steps, rates that were tuned without a schedule, and training that is cut short long before the
        planned end, where the rate is still high.

    Settings:
        shape: how the rate falls after the warm-up (name).
        warmup: steps over which it rises, 0 to below 1; the rising part of one_cycle (share of the planned steps).
        final: the last rate, 0 to 1 (share of the peak).

    References:
        Goyal et al., Accurate, Large Minibatch SGD, 2017 (warm-up).
        Loshchilov and Hutter, SGDR, ICLR 2017 (cosine).
        Smith and Topin, Super-Convergence, 2018 (one-cycle).
    """

    card = Card(aims=frozenset({Aim.QUALITY}), fidelity=Fidelity.LOSSY, prior=1.1, aliases=("learning_rate_scheduler",))

    shape: Annotated[Shape, Choices("cosine", "linear", "one_cycle")] = "cosine"
    warmup: float = 0.1
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the planned steps and must be from 0 to below 1, got {self.warmup}")
        if not 0 <= self.final <= 1:
            raise ValueError(f"final is a share of the peak and must be from 0 to 1, got {self.final}")

    def ties(self) -> Ties:
        """Need a training workload."""
        return ties(needs=(Trait.TRAINING,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline where a single step leaves no rate to change."""
        plan = draft.training
        if plan is not None and (plan.steps == 1 or (plan.epochs == 1 and len(plan.batches(0)) == 1)):
            return "training takes a single step, and a schedule acts between steps"
        return None

    def at_optimize(self, draft: Draft, tally: Tally) -> None:
        """Ask for the schedule, and count the steps it changes."""
        assert draft.training is not None
        draft.training.schedule = self.build
        draft.training.on(LoopEvent.BATCH, lambda loop: tally.add("steps at another rate", int(_changed(loop))))

    def build(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """Build torch's schedule for ``steps`` optimizer steps."""
        from torch.optim.lr_scheduler import LambdaLR

        return LambdaLR(optimizer, lambda step: self.factor(step, steps))

    def factor(self, step: int, steps: int) -> float:
        """Return the share of the peak rate at which the optimizer step number ``step``, from 0, is taken."""
        step = min(step, steps)
        if self.shape == "one_cycle":
            return self._one_cycle(step, steps)
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        gone = (step - rising) / max(1, steps - rising)
        left = {"cosine": (1 + math.cos(math.pi * gone)) / 2, "linear": 1 - gone, "constant": 1.0}[self.shape]
        return self.final + (1 - self.final) * left

    def _one_cycle(self, step: int, steps: int) -> float:
        peak, last = self.warmup * steps - 1, steps - 1
        low, high, gone = (
            (1 / START, 1.0, step / peak) if step < peak else (1.0, self.final, (step - peak) / max(1e-9, last - peak))
        )
        return high + (low - high) * (1 + math.cos(math.pi * min(1.0, gone))) / 2


def _changed(loop: Loop) -> bool:
    return any(group["lr"] != group["initial_lr"] for group in loop.optimizer.param_groups)
