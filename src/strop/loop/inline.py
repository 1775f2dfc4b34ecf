"""Optimizer steps inside a loop that is not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from strop.contract.loop_event import LoopEvent
from strop.errors import UsageError
from strop.loop.step import Stepper

UNSEEN = frozenset(
    {
        LoopEvent.MICRO_START,
        LoopEvent.BEFORE_FORWARD,
        LoopEvent.AFTER_FORWARD,
        LoopEvent.BEFORE_LOSS,
        LoopEvent.AFTER_LOSS,
    }
)
"""Events that lie inside the caller's own code, so that nobody can be called at them."""


class Inline:
    """What a recipe can give to a loop of your own.

    ::

        with strop.inline(model, optimizer, recipe="recipe.yaml", steps=1000) as s:
            for x, y in s.batches(loader):
                with s.step():
                    s.backward(loss_fn(model(x), y))

    Get one from :func:`strop.inline`.

    Args:
        stepper: prepared.
    """

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._contexts = contextlib.ExitStack()
        self._open, self._backwards = False, 0

    def __enter__(self) -> Inline:
        self._stepper.fire(LoopEvent.FIT_START)
        return self

    def __exit__(self, *error: object) -> None:
        self._contexts.close()
        self._stepper.fire(LoopEvent.FIT_END)

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Go through one epoch of ``loader``, each batch moved to the model's device; end where training was stopped."""
        stepper = self._stepper
        stepper.fire(LoopEvent.EPOCH_START)
        for batch in loader:
            if stepper.stopped:
                return
            yield stepper.placed(batch)
            stepper.place += 1
        stepper.fire(LoopEvent.EPOCH_END)
        stepper.epoch, stepper.place = stepper.epoch + 1, 0

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Take one optimizer step: forward and :meth:`backward` go inside, the optimizer moves at the end.

        Raises:
            UsageError: it holds no backward, or another step.
        """
        if self._open:
            raise UsageError("a step() lies inside another; one optimizer step holds one of them, and several backward().")
        stepper = self._stepper
        stepper.fire(LoopEvent.BATCH)
        stepper.clear()
        self._open, self._backwards = True, 0
        self._enter()
        try:
            yield
        finally:
            self._open = False
            self._contexts.close()
        if not self._backwards:
            raise UsageError("a step() ended without backward(); call s.backward(loss) inside it.")
        stepper.finish()
        stepper.step += 1
        stepper.fire(LoopEvent.STEP_END)

    def backward(self, loss: Tensor, share: float = 1.0) -> None:
        """Add the gradients of one micro-batch.

        Args:
            loss: a scalar.
            share: the items of this micro-batch as a share of the step's, so that accumulated micro-batches of unequal
                length give the gradient of the whole batch.

        Raises:
            UsageError: outside of :meth:`step`, or the loss is not a scalar.
        """
        if not self._open:
            raise UsageError("backward() belongs inside step(): with s.step(): s.backward(loss).")
        if loss.dim():
            raise UsageError(f"backward() takes a scalar; the loss has shape {list(loss.shape)}. Take its mean.")
        self._contexts.close()  # casting is for forward and loss
        self._stepper.loss = loss
        self._stepper.backward(loss * share)
        self._backwards += 1
        self._enter()

    def state_dict(self) -> dict[str, Any]:
        """Return what decides how training goes on, the place in your data excepted."""
        return self._stepper.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as from ``state``."""
        self._stepper.load_state_dict(state)

    @property
    def stopped(self) -> str:
        """Why training should end; empty: it goes on."""
        return self._stepper.stopped

    def _enter(self) -> None:
        for context in self._stepper.training.around:
            self._contexts.enter_context(context(self._stepper))
