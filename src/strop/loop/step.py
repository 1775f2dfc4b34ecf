"""One optimizer step, in an order of which every clause has been somebody's bug.

::

    clear the gradients
    for each micro-batch: forward, loss, scale, backward
    unscale -> look (veto, roll back) -> clip -> optimizer step -> loss scale -> schedule

Gradients are unscaled before anybody looks at them or clips them. The loss is divided by the items of the whole step, not
of each micro-batch, so that cutting a batch changes nothing. The schedule moves on only when a step was taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.utils._pytree import tree_map

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Loop, Micro, Samples, Training
from strop.errors import TrainingError, WorkloadError
from strop.loop.state import copied, random_state, set_random_state
from strop.surgery.optimizers import clip

OVERFLOWS = 20
"""Steps left out one after the other, at a loss scale of 1 or less, before training stops instead of spinning."""


def one_after_another(loop: Loop, micros: Sequence[Micro]) -> None:
    """Run the micro-batches in turn; ranks exchange gradients in the last one only."""
    for micro in micros:
        waits = micro is not micros[-1] and hasattr(loop.model, "no_sync")
        with loop.model.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
            loop.backward(loop.forward(micro))


class Stepper(Loop):
    """Takes optimizer steps; :class:`strop.loop.loop.TrainingLoop` gives it batches, ``strop.loop.inline`` a caller's loop.

    Args:
        model: moved to ``device``, and trained in place.
        training: what to do.
        device: as torch writes it.
    """

    def __init__(self, model: nn.Module, training: Training, device: str = "cpu") -> None:
        self.model, self.training, self.device = model.to(device), training, device
        self.total = self.step = self.epoch = self.place = 0
        self.stopped, self.norm, self.norms, self.taken = "", None, None, False
        self.step_loss = torch.zeros((), device=device)
        self._vetoed, self._overflows = False, 0
        self._return_to: dict[str, Any] | None = None

    def prepare(self, total: int) -> None:
        """Build optimizer, schedule and loss scale for ``total`` steps."""
        self.total = total
        self.optimizer = self.training.optimizer(self.model)
        self.schedule = self.training.schedule(self.optimizer, total) if self.training.schedule else None
        scale = self.training.loss_scale
        self.scaler = None
        if scale is not None:
            self.scaler = GradScaler(self.device.partition(":")[0], scale.initial, scale.growth, scale.backoff, scale.interval)

    def fire(self, event: LoopEvent) -> None:
        """Call the event's handlers."""
        handlers = [handler for name, handler in self.training.handlers if name is event]
        for handler in reversed(handlers) if event.closes else handlers:
            handler(self)

    def clear(self) -> None:
        """Forget the gradients of the last step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.step_loss = torch.zeros((), device=self.device)
        self._vetoed, self._return_to, self.norms = False, None, None

    def micros(self, samples: Samples) -> list[Micro]:
        """Collate the micro-batches of a step and weigh each by its items."""
        training = self.training
        parts = [part for part in training.split(samples) if len(part)]
        batches = [self.placed(training.collate([training.data[number] for number in part])) for part in parts]
        items = [training.items(b) if training.items else len(p) for b, p in zip(batches, parts, strict=True)]
        # Ranks average their gradients, so each divides by the mean of their items, which makes the sum right.
        whole = training.average(float(sum(items)))
        if not whole > 0:
            raise WorkloadError(f"a batch of {len(samples)} samples holds {whole:g} items; it must hold some.")
        return [Micro(b, len(p), n, whole) for b, p, n in zip(batches, parts, items, strict=True)]

    def placed(self, batch: Any) -> Any:
        """Move a batch to the device."""
        return tree_map(lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, batch)

    def forward(self, micro: Micro) -> Tensor:
        """Run forward and loss of a micro-batch; return its share of the step's loss."""
        self.micro = micro
        self.fire(LoopEvent.MICRO_START)
        with contextlib.ExitStack() as stack:
            for context in self.training.around:
                stack.enter_context(context(self))
            self._around(LoopEvent.BEFORE_FORWARD, self._outputs, LoopEvent.AFTER_FORWARD)
            self._around(LoopEvent.BEFORE_LOSS, self._loss, LoopEvent.AFTER_LOSS)
        return share(self.loss, micro)

    def backward(self, share: Tensor) -> None:
        """Scale a micro-batch's share of the loss and add its gradients to the step's."""
        self.fire(LoopEvent.BEFORE_BACKWARD)
        scaled = share if self.scaler is None else self.scaler.scale(share)
        torch.autograd.backward(scaled)
        self.step_loss = self.step_loss + share.detach()
        self.fire(LoopEvent.AFTER_BACKWARD)

    def finish(self) -> None:
        """Do what follows the last backward; :attr:`taken` says whether the optimizer moved."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        self.fire(LoopEvent.GRADS_READY)
        self.taken = not self._vetoed
        if self._vetoed and self.scaler is not None:
            self.scaler.update()  # or it would refuse to unscale the next step
        if self._return_to is not None:
            self.load_state_dict(self._return_to)
        elif self.taken:
            if self.training.max_norm is not None:
                self.norm = self._clip(self.training.max_norm)
            self.fire(LoopEvent.BEFORE_STEP)
            self.taken = self._optimize()
        if self.taken:
            self.fire(LoopEvent.AFTER_STEP)
            if self.schedule is not None:
                self.schedule.step()

    def veto(self) -> None:
        """Leave out this step's optimizer step; to be called at GRADS_READY."""
        self._vetoed = True

    def stop(self, reason: str) -> None:
        """End training after this step."""
        self.stopped = reason

    def roll_back(self, state: dict[str, Any]) -> None:
        """Abandon this step and return to ``state`` once the handlers of GRADS_READY are done."""
        self._vetoed, self._return_to = True, copied(state)

    def state_dict(self) -> dict[str, Any]:
        """Return what decides how training goes on."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule is not None else None,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "overflows": self._overflows,
            "random": random_state(),
            "kept": {name: part.state_dict() for name, part in self.training.kept.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as from ``state``, whose tensors the optimizer may take for its own: hand over a copy to keep them."""
        state = self.training.spread(state, self.model, self.optimizer) if self.training.spread else state
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for part, saved in ((self.schedule, state["schedule"]), (self.scaler, state["scaler"])):
            if part is not None:
                part.load_state_dict(saved)
        self._overflows = state["overflows"]
        set_random_state(state["random"])
        for name, keeper in self.training.kept.items():
            keeper.load_state_dict(state["kept"][name])

    def _outputs(self) -> None:
        self.outputs = self.training.forward(self.model, self.micro.batch)

    def _loss(self) -> None:
        self.loss = self.training.loss(self.outputs, self.micro.batch)

    def _around(self, before: LoopEvent, act: Callable[[], None], after: LoopEvent) -> None:
        self.fire(before)
        act()
        self.fire(after)

    def _clip(self, largest: float) -> Tensor:
        grads = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        # Of norms that are known vector_norm gives what get_total_norm would, to the bit.
        norm: Tensor = torch.linalg.vector_norm(torch.stack(self.norms)) if self.norms else nn.utils.get_total_norm(grads)
        looked_at = any(event is LoopEvent.BEFORE_STEP for event, _ in self.training.handlers)
        clip(self.model, self.optimizer, norm, largest, at_once=looked_at or self.scaler is not None)
        return norm

    def _optimize(self) -> bool:
        if self.scaler is None:
            self.optimizer.step()
            return True
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        taken = self.scaler.get_scale() >= scale
        self._overflows = 0 if taken else self._overflows + 1
        if self._overflows >= OVERFLOWS and self.scaler.get_scale() <= 1:
            raise TrainingError(
                f"gradients overflowed in {OVERFLOWS} steps one after the other, down to a loss scale of "
                f"{self.scaler.get_scale():g}: the loss itself is not finite. Lower the learning rate, or train in bfloat16."
            )
        return taken


def share(loss: object, micro: Micro) -> Tensor:
    """Return a micro-batch's share of the step's loss.

    Args:
        loss: a scalar, the mean over the micro-batch's items; or one value per sample, the sum over that sample's items.
        micro: the micro-batch.

    Raises:
        WorkloadError: it is neither.
    """
    if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.shape not in ((), (micro.samples,)):
        what = f"a {loss.dtype} of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise WorkloadError(
            f"loss gave {what} for {micro.samples} samples; a floating-point scalar or one value per sample was expected."
        )
    return loss * (micro.items / micro.whole) if loss.dim() == 0 else loss.sum() / micro.whole
