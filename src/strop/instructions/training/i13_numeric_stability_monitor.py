"""Instruction 13: catch NaN, infinities and exploding gradients, and roll back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop
from strop.errors import TrainingError
from strop.measure.host import Host

if TYPE_CHECKING:
    from torch import nn

    from strop.loop.health import Health

PATIENCE = 3
"""Roll-backs to one and the same snapshot before training is halted after all."""


@final
@dataclass(frozen=True, kw_only=True)
class NumericStabilityMonitor(Instruction):
    """Catch NaN, infinities and exploding gradients in the step and module where they arise, and roll back or halt.

    What it does:
        Looks at the answer of each watched module during forward, and at the true (unscaled, unclipped) gradients before the
        optimizer uses them. Where a share or a variance exceeds its limit, ``rollback`` returns to the latest snapshot of
        model, optimizer, schedule, loss scale and random numbers, bit for bit, and goes on without the batch that did it;
        ``halt`` ends training with the step and the module. Snapshots are taken in memory, of sound steps only.
        After three roll-backs to one snapshot it halts.

    Why it helps:
        A NaN that reaches the weights destroys them; found at the step it arises, it costs one batch instead of all the
        hours until somebody looks.

    When it does not:
        Very short steps, where looking at every answer is a large part of the work; fewer ``checkpoints`` cost less. Models
        that use infinities on purpose in what a watched module answers. Overflows under float16 loss scaling are that
        scale's business and only watched in forward.

    Settings:
        checkpoints: modules to watch: part of their name or of their class's, such as layer_norm; empty: all that have no
            children (names).
        nan_ratio: NaN among the elements of an answer or gradient at most (share).
        inf_ratio: infinities among them at most (share).
        gradient_variance: variance of the gradients of a module at most; unset: only in relation to the usual (variance).
        gradient_growth: variance of the gradients of a module against its median over 25 steps at most (factor).
        action: what happens (name).
        snapshot_every: optimizer steps between snapshots (steps).

    References:
        Chowdhery et al., PaLM, 2022, section 5.1 (restart before a loss spike and skip the batches).
    """

    card = Card(aims=frozenset({Aim.PROTECTION}), fidelity=Fidelity.EXACT, pinned=True, prior=1.0, aliases=("stability_monitor",))

    checkpoints: tuple[str, ...] = ()
    nan_ratio: float = 1e-5
    inf_ratio: float = 1e-6
    gradient_variance: float | None = None
    gradient_growth: float = 1e4
    action: Literal["rollback", "halt"] = "rollback"
    snapshot_every: int = 100

    def __post_init__(self) -> None:
        for name in ("nan_ratio", "inf_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a share and must be from 0 to below 1, got {getattr(self, name)}")
        if self.snapshot_every < 1 or self.gradient_growth <= 1:
            raise ValueError(
                f"snapshot_every must be 1 or more and gradient_growth above 1, got {self.snapshot_every}, {self.gradient_growth}"
            )

    def ties(self) -> Ties:
        """Need a training workload."""
        return ties(needs=(Trait.TRAINING,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline where no module has a name it was told to watch."""
        if not self._watched(draft.model):
            return f"no module's name or class contains {' or '.join(self.checkpoints) or 'anything'}"
        return None

    def at_loop(self, draft: Draft, tally: Tally) -> None:
        """Watch; count modules, sound steps, alarms and roll-backs."""
        from strop.loop.health import Health, Limits

        assert draft.training is not None
        limits = Limits(
            nan_ratio=self.nan_ratio, inf_ratio=self.inf_ratio, variance=self.gradient_variance, growth=self.gradient_growth
        )
        watched = self._watched(draft.model)
        tally.add("modules watched", len(watched))
        guard = _Guard(self, Health(watched, limits), tally)
        draft.training.keep(self.name, guard.health)
        draft.training.on(LoopEvent.FIT_START, lambda loop: guard.health.begin())
        draft.training.on(LoopEvent.FIT_END, lambda loop: guard.health.end())
        draft.training.on(LoopEvent.BATCH, guard.remember)
        draft.training.on(LoopEvent.GRADS_READY, guard.judge)

    def _watched(self, model: nn.Module) -> dict[str, nn.Module]:
        named = {name: module for name, module in model.named_modules() if name}
        if not self.checkpoints:
            return {name: module for name, module in named.items() if not list(module.children())}
        words = [_bare(word) for word in self.checkpoints]
        return {n: m for n, m in named.items() if any(w in _bare(n) or w in _bare(type(m).__name__) for w in words)}


class _Guard:
    """What the monitor does at the loop's events."""

    def __init__(self, monitor: NumericStabilityMonitor, health: Health, tally: Tally) -> None:
        self.monitor, self.health, self.tally = monitor, health, tally
        self._snapshot: dict[str, Any] | None = None
        self._step, self._returns = 0, 0

    def remember(self, loop: Loop) -> None:
        """Take a snapshot before a batch, when one is due; all steps before it were sound."""
        from strop.loop.state import copied

        if self.monitor.action == "halt":
            return
        if self._snapshot is None or loop.step - self._step >= self.monitor.snapshot_every:
            self._snapshot, self._step, self._returns = copied(loop.state_dict()), loop.step, 0

    def judge(self, loop: Loop) -> None:
        """Look at the step; roll back or halt where it is not sound on any rank."""
        scaled = loop.training.loss_scale is not None
        wrong = self.health.verdict(list(loop.model.named_parameters()), loop.step_loss, gradients=not scaled)
        if loop.training.spread is None:  # a part's norm is not the gradient's
            loop.norms = self.health.norms
        if not loop.training.average(float(bool(wrong))):
            self.tally.add("sound steps")
            return
        wrong = wrong or "another rank found its step unsound"
        self.tally.add("alarms")
        said = f"numeric_stability_monitor: step {loop.step + 1}: {wrong}"
        if self._snapshot is None:
            raise TrainingError(f"{said}. Training was halted before the optimizer used it.")
        self._returns += 1
        if self._returns > PATIENCE:
            raise TrainingError(f"{said}. It was the {self._returns}th alarm since step {self._step}, so training was halted.")
        self.tally.add("roll-backs")
        loop.roll_back(self._snapshot)


def _bare(name: str) -> str:
    return name.replace("_", "").replace(".", "").lower()
