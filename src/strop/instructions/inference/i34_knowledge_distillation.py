"""Instruction 34: a smaller student learns from the model."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from strop.contract.card import Aim, Card, Cost, Fidelity
from strop.contract.draft import Draft, Facts
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.settings import Space
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop
from strop.contract.workload import InferenceWorkload
from strop.errors import PrepareError
from strop.measure.host import Host, read_host

if TYPE_CHECKING:
    from torch import nn

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Processor flags of units that multiply bfloat16 faster than float32."""


@final
@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(Instruction):
    """Train a student with fewer layers on the model's own answers, and run it in the model's place.

    What it does:
        Takes the workload's part ``student``, or the model with ``layers`` of its blocks, and trains it on the weighted sum
        of three losses: the divergence from the teacher's softened classes, the squared distance from its hidden states, and
        the loss on true labels where there are any. The teacher is the part ``teacher``, or the model as it was; it is
        frozen. Within an inference workload this happens once, on the training split, unlabelled inputs included, in
        batches of one shape; a training workload keeps its own data, optimizer and length.

    Why it helps:
        Depth is time: half the blocks take about half of it, on every engine and beside every precision. The teacher's
        answers say more about an input than its label does, and cost nothing, so unlabelled text of the same kind is enough.

    When it does not:
        Little data like the traffic, models whose depth is not their cost, and tasks that need every block. Fitting takes
        minutes. Where batches are padded, the hidden states of the padding count too.

    Settings:
        layers: blocks of the student; unset: half of the model's, or all where the workload brings a student, or a teacher
            for its training (blocks).
        choice: which blocks it begins with: evenly spread, the first or the last (name).
        weights: of softened classes, hidden states and true labels (three factors).
        temperature: by which logits are divided before they are compared, above 0 (factor).
        epochs: passes over the training split of an inference workload (passes).
        steps: optimizer steps at most there; unset: no limit but the epochs (steps).
        learning_rate: at its peak there; it rises over a tenth of the steps and falls over the rest (rate).
        batch: rows per step there (rows).

    References:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
        Sanh et al., DistilBERT, 2019 (a student from some of the layers).
        Jiao et al., TinyBERT, EMNLP 2020 (hidden states).
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT, Aim.MEMORY, Aim.SIZE}),
        fidelity=Fidelity.LOSSY,
        cost=Cost.FIT,
        prior=1.6,
        aliases=("distillation",),
    )

    layers: int | None = None
    choice: Literal["spread", "first", "last"] = "spread"
    weights: tuple[float, float, float] = (0.4, 0.3, 0.3)
    temperature: float = 2.0
    epochs: int = 3
    steps: int | None = None
    learning_rate: float = 2e-4
    batch: int = 32

    def __post_init__(self) -> None:
        if min(self.weights) < 0 or not sum(self.weights) > 0:
            raise ValueError(f"weights are three factors, none negative and one of them positive; got {self.weights}")
        if not self.temperature > 0 or not self.learning_rate > 0:
            raise ValueError(f"temperature and learning_rate must be positive, got {self.temperature}, {self.learning_rate}")
        for name, least in (("layers", 1), ("epochs", 1), ("steps", 0), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    def ties(self) -> Ties:
        """Need a teacher, and data to learn from."""
        return ties(needs=(Trait.TEACHER,))

    def space(self, facts: Facts, host: Host) -> Space:
        """Try a third of the layers too, where that is fewer than half."""
        return {"layers": (None, facts.depth // 3)} if 0 < facts.depth // 3 < facts.depth // 2 else {}

    def passes(self, facts: Facts, host: Host) -> float:
        """Return what fitting takes: the teacher answers once, the student goes forward and backward in each epoch."""
        share = (self.layers or facts.depth // 2) / facts.depth if facts.depth else 1.0
        whole = 1 + 3 * self.epochs * share
        return 0.5 * whole if BF16_FLAGS & host.isa else whole

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline without data to learn from, without layers to drop, and what the losses cannot be computed of."""
        from strop.loop.transfer import class_labels
        from strop.surgery.depth import blocks_of

        workload = draft.workload
        if isinstance(workload, InferenceWorkload):
            split = workload.training
            if split is None or not len(split.inputs):
                return "the workload has no training split; give InferenceWorkload(training=Split(…)), labels are optional"
            if self.weights[2] and not class_labels(split):
                return "labels of the training split are not class numbers; leave them out, or give their loss a weight of 0"
            if self.weights[:2] == (0, 0) and split.labels is None:
                return "the training split has no labels, and neither of the teacher's losses has a weight"
        elif not {"student", "teacher"} & set(workload.parts):
            return "the workload names neither a student nor a teacher; give one of them in TrainingWorkload(parts={…})"
        if "student" in workload.parts:
            return None
        depth = len(blocks_of(draft.model))
        wanted = self._depth(draft, depth)
        if wanted == depth and "teacher" in workload.parts:
            return None
        if depth < 2:
            return "the model has no stack of like blocks to take a student from; give one: parts={'student': lambda: …}"
        if wanted > depth:
            return f"layers={wanted} are asked for, and the model has {depth}"
        if wanted == depth:
            return f"the student would be the model itself: all {depth} layers would stay"
        return None

    def at_source(self, draft: Draft, tally: Tally) -> None:
        """Put the student in the model's place; where the model came to be called, plan a training for it."""
        from strop.loop.state import own_random_numbers
        from strop.loop.transfer import transfer
        from strop.surgery.depth import blocks_of, chosen, keep_blocks

        workload, parts = draft.workload, draft.workload.parts
        with own_random_numbers(draft.seed):
            draft.teacher = parts["teacher"]() if "teacher" in parts else copy.deepcopy(draft.model)
            if "student" in parts:
                whole, mode = _size(draft.model), draft.model.training
                draft.model = parts["student"]().train(mode)
                tally.add("parameters fewer", max(0, whole - _size(draft.model)))
        depth = len(blocks_of(draft.model))
        wanted = self._depth(draft, depth)
        if wanted > depth:
            raise PrepareError(f"layers={wanted} are asked for, and the student has {depth}.")
        if wanted < depth:
            tally.add("layers removed", keep_blocks(draft.model, chosen(depth, wanted, self.choice)))
        if isinstance(workload, InferenceWorkload):
            assert workload.training is not None  # or it had declined
            draft.training = transfer(
                workload.training,
                seed=draft.seed,
                batch=self.batch,
                epochs=self.epochs,
                steps=self.steps,
                learning_rate=self.learning_rate,
                labelled=self.weights[2] > 0,
            )

    def at_loop(self, draft: Draft, tally: Tally) -> None:
        """Let the teacher into the loss; count the steps from which the student learned."""
        from strop.loop.distill import Distiller, Weights

        assert draft.training is not None and draft.teacher is not None
        alone = isinstance(draft.workload, InferenceWorkload)
        if alone and BF16_FLAGS & read_host().isa:
            draft.training.around.append(_bfloat16)
        distiller = Distiller(draft.teacher, Weights(*self.weights), self.temperature, constant=alone)
        distiller.join(draft.training, self.name)
        draft.training.on(LoopEvent.AFTER_STEP, lambda loop: tally.add("steps learned"))

    def _depth(self, draft: Draft, depth: int) -> int:
        """Return how many of ``depth`` blocks the student has."""
        if self.layers is not None:
            return self.layers
        parts = draft.workload.parts
        whole = "student" in parts or ("teacher" in parts and not isinstance(draft.workload, InferenceWorkload))
        return depth if whole else max(1, depth // 2)


def _bfloat16(loop: Loop) -> AbstractContextManager[Any]:
    import torch

    return torch.autocast(loop.device.partition(":")[0], torch.bfloat16)


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
