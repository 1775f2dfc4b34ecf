"""What an instruction's laws are tried on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from strop import engines
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.pytree import flatten, to_numpy
from strop.contract.recipe import Recipe
from strop.contract.signature import as_call
from strop.contract.ties import Trait
from strop.contract.training import Loop
from strop.engines.threads import hold_cores
from strop.loop.loop import TrainingLoop
from strop.measure.host import Host, read_host
from strop.pipeline import Outcome, Preparation, opening, prepare, rebuild, settle, train

DraftFactory = Callable[[], Draft]
"""Builds a fresh draft, the same each time."""


class LawBroken(AssertionError):
    """An instruction breaks a law; the message says which and how."""


@dataclass(frozen=True, kw_only=True)
class LawCase:
    """An instruction with everything its laws need.

    Attributes:
        instruction: with the settings that act on ``draft``.
        draft: its own example: something it improves.
        foreign: a draft it must decline; ``None`` if it declines by settings or host only, then ``declined`` is needed.
        idle: an instruction and a draft on which it changes nothing.
        declined: an instruction that must decline ``draft``, where ``foreign`` is ``None``.
        companions: other instructions that make the recipe legal, such as an engine.
        host: the machine the instruction is asked about.
        tolerance: for fidelity ROUNDING: largest departure relative to the largest value of an answer or gradient.
    """

    instruction: Instruction
    draft: DraftFactory
    idle: tuple[Instruction, DraftFactory]
    foreign: DraftFactory | None = None
    declined: Instruction | None = None
    companions: Sequence[Instruction] = ()
    host: Host = field(default_factory=read_host)
    tolerance: float = 1e-3

    @property
    def recipe(self) -> Recipe:
        """The instruction with its companions."""
        return Recipe([self.instruction, *self.companions])

    def prepare(self, folder: Path, instruction: Instruction | None = None, draft: DraftFactory | None = None) -> Preparation:
        """Prepare the recipe, or one with another instruction in its place, into ``folder``; train where the draft trains."""
        recipe, own = Recipe([instruction or self.instruction, *self.companions]), (draft or self.draft)()
        if own.training is not None:
            return train(own, recipe, self.host)
        if Trait.SERVING in own.workload.traits:
            return settle(own, recipe, self.host)
        return prepare(own, recipe, self.host, folder)

    def run(self, folder: Path) -> tuple[Preparation, list[list[Any]]]:
        """Prepare into ``folder``, open the artefact, and return its answers to the examples as lists of arrays.

        Of a training draft: the gradients of the first step, and the trained weights. Of a serving draft, whose model is in
        the bundle already: the answers to all examples in one call, cut apart.
        """
        if self.draft().training is not None:
            return self.trained(self.recipe)
        preparation = self.prepare(folder)
        if preparation.outcome is not Outcome.PREPARED:
            raise LawBroken(f"{self.instruction} on its own example ended as {preparation.outcome}: {preparation.reason}")
        if Trait.SERVING in self.draft().workload.traits:
            return preparation, self._together()
        draft, options = self.draft(), opening(self.draft(), self.recipe)
        engine = engines.get(preparation.engine)
        program = engine.open(folder, draft.signature, options, lambda: rebuild(self.draft(), self.recipe))
        try:
            return preparation, [_arrays(program(*args, **kwargs)) for args, kwargs in map(as_call, draft.examples)]
        finally:
            program.close()

    def _together(self) -> list[list[Any]]:
        draft = self.draft()
        inputs = [as_call(example)[0][0] for example in draft.examples]
        with torch.inference_mode():
            answer = draft.model(torch.cat(inputs))
        return [_arrays(part) for part in torch.split(answer, [len(rows) for rows in inputs])]

    def trained(self, recipe: Recipe, run: Callable[[TrainingLoop], None] | None = None) -> tuple[Preparation, list[list[Any]]]:
        """Train with a recipe; return the gradients of the first step and the weights in the end, as lists of arrays."""
        draft, gradients = self.draft(), list[Any]()
        assert draft.training is not None

        def take(loop: Loop) -> None:
            if loop.step == 0:
                gradients.extend(to_numpy(p.grad).copy() for p in loop.model.parameters() if p.grad is not None)

        draft.training.on(LoopEvent.GRADS_READY, take)
        preparation = train(draft, recipe, self.host, run=run)
        if preparation.outcome is not Outcome.PREPARED:
            raise LawBroken(f"{self.instruction} on its own example ended as {preparation.outcome}: {preparation.reason}")
        return preparation, [gradients, [to_numpy(value) for value in draft.model.state_dict().values()]]

    def original_answers(self) -> list[list[Any]]:
        """Return the answers of the untouched model, on as many cores as an opened artefact uses: their number rounds sums.

        Of a training draft: the gradients of the first step without the instruction.
        """
        if self.draft().training is not None:
            return self.trained(Recipe())[1][:1]
        draft, release = self.draft(), hold_cores(0, pin=False)
        try:
            with torch.inference_mode():
                return [_arrays(draft.model(*args, **kwargs)) for args, kwargs in map(as_call, draft.examples)]
        finally:
            release()


def _arrays(answer: Any) -> list[Any]:
    return [to_numpy(leaf) for leaf in flatten(answer)[0]]
