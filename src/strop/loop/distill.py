"""A student learns what a teacher answers: softened classes and hidden states, beside the loss on the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map

from strop.contract.loop_event import LoopEvent
from strop.contract.training import Loop, Training
from strop.errors import PrepareError
from strop.loop.rehearse import first_batch, put_back
from strop.surgery.depth import blocks_of
from strop.units import Bytes

REMEMBERED: Bytes = 2**30
"""Answers of the teacher that are kept from one epoch to the next; what goes beyond is answered again."""


class Weights(NamedTuple):
    """How much each loss counts: softened classes, hidden states, and the truth."""

    soft: float
    hidden: float
    truth: float


class Answer(NamedTuple):
    """What the teacher says to a batch: its first output, and a hidden state for each block of the student."""

    output: Tensor
    hidden: list[Tensor]


def softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``T² · KL(teacher ‖ student)`` of the classes softened by ``T``, the mean over all rows; logits (…, classes).

    Gradients of softened classes shrink by ``1/T²``, which the factor undoes, so that their size does not depend on ``T``.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    given = functional.log_softmax(student.float() / temperature, dim=-1).flatten(0, -2)
    wanted = functional.softmax(teacher.float() / temperature, dim=-1).flatten(0, -2)
    return functional.kl_div(given, wanted, reduction="batchmean") * temperature**2


class Distiller:
    """Adds a teacher to a training: put it there with :meth:`join`.

    The teacher is frozen and in eval mode. The student's block ``k`` of ``n`` is held against the teacher's block
    ``k·N/n`` of ``N``, through a learned projection where their widths differ.

    Args:
        teacher: answers; never trained.
        weights: of the losses.
        temperature: by which classes are softened.
        constant: the student learns in eval mode, and a batch's samples never change: answers can be remembered.
    """

    def __init__(self, teacher: nn.Module, weights: Weights, temperature: float, *, constant: bool) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self._weights, self._temperature, self._constant = weights, temperature, constant
        self._projections = nn.ModuleList()
        self._depth = 0
        self._handles: list[Any] = []
        self._student: dict[int, Tensor] = {}
        self._kept: dict[tuple[int, ...], Answer] = {}
        self._size: Bytes = 0

    def join(self, training: Training, name: str) -> None:
        """Let the training's loss be the weighted sum; ``name`` is that of the projections in checkpoints."""
        build = training.optimizer
        training.optimizer = lambda model: self._equip(model, training, build)
        training.keep(name, self)
        training.on(LoopEvent.FIT_START, self._begin)
        training.on(LoopEvent.AFTER_LOSS, self._teach)
        training.on(LoopEvent.FIT_END, lambda loop: self._end())

    def answer(self, training: Training, batch: Any) -> Answer:
        """Ask the teacher; nothing of it receives a gradient.

        Args:
            training: says how a model is called.
            batch: on the device of the teacher.
        """
        with torch.no_grad():
            output, hidden = self._run(self.teacher, training, batch)
        matched = [round((place + 1) * len(hidden) / self._depth) - 1 for place in range(self._depth)]
        return Answer(output, [hidden[place] for place in matched])

    def state_dict(self) -> dict[str, Any]:
        """Return the projections' weights."""
        return dict(self._projections.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self._projections.load_state_dict(state)

    def _equip(self, student: nn.Module, training: Training, build: Callable[[nn.Module], Optimizer]) -> Optimizer:
        """Build the optimizer, with projections where hidden states differ in width; refuse answers that cannot be compared."""
        optimizer = build(student)
        if not (self._weights.soft or self._weights.hidden):
            return optimizer
        device = next(student.parameters()).device
        self.teacher.to(device)
        batch = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, first_batch(training))
        with put_back(student), torch.no_grad():
            given, own = self._run(student, training, batch)
        self._depth = len(own)
        if self._weights.hidden and not (own and blocks_of(self.teacher)):
            raise PrepareError(
                "hidden states cannot be compared: teacher or student has no stack of like blocks. Give a weight of 0 for them: "
                "weights=(0.6, 0, 0.4)."
            )
        wanted, theirs = self.answer(training, batch)
        if given.shape != wanted.shape:
            raise PrepareError(
                f"the student answers {list(given.shape)} where the teacher answers {list(wanted.shape)}; both must have the "
                f"same classes."
            )
        widths = [(a.shape[-1], b.shape[-1]) for a, b in zip(own, theirs, strict=True)]
        self._projections = nn.ModuleList(nn.Identity() if a == b else nn.Linear(a, b) for a, b in widths).to(device)
        if list(self._projections.parameters()):
            optimizer.add_param_group({"params": list(self._projections.parameters())})
        return optimizer

    def _begin(self, loop: Loop) -> None:
        if self._constant:
            loop.model.eval()  # no dropout, and the statistics of batch norms stay
        if self._weights.hidden:
            self._handles = _watch(loop.model, self._student)

    def _end(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._student, self._kept, self._size = [], {}, {}, 0

    def _teach(self, loop: Loop) -> None:
        soft, hidden, truth = self._weights
        if not (soft or hidden):
            loop.loss = truth * loop.loss
            return
        wanted, lesson = self._remembered(loop), torch.zeros((), device=loop.loss.device)
        if soft:
            lesson = lesson + soft * softened(first_tensor(loop.outputs), wanted.output, self._temperature)
        if hidden:
            triples = zip(self._projections, (self._student[place] for place in range(self._depth)), wanted.hidden, strict=True)
            apart = [functional.mse_loss(project(mine).float(), theirs.float()) for project, mine, theirs in triples]
            lesson = lesson + hidden * torch.stack(apart).mean()
        # What the teacher teaches is a mean over the micro-batch; beside one loss per sample it is spread over them.
        loop.loss = truth * loop.loss + (lesson if loop.loss.dim() == 0 else lesson * loop.micro.items / len(loop.loss))

    def _remembered(self, loop: Loop) -> Answer:
        key = tuple(loop.samples)
        if not self._constant or key not in self._kept:
            answer = self.answer(loop.training, loop.micro.batch)
            size = sum(leaf.nbytes for leaf in tree_leaves(answer))
            if not self._constant or self._size + size > REMEMBERED:
                return answer
            self._kept[key], self._size = answer, self._size + size
        return self._kept[key]

    def _run(self, model: nn.Module, training: Training, batch: Any) -> tuple[Tensor, list[Tensor]]:
        """Return a model's first output and, where they count, the hidden states of its stack."""
        found: dict[int, Tensor] = {}
        handles = _watch(model, found) if self._weights.hidden else []
        try:
            output = first_tensor(training.forward(model, batch))
        finally:
            for handle in handles:
                handle.remove()
        return output, [found[place] for place in sorted(found)]


def first_tensor(answer: Any) -> Tensor:
    """Return the first tensor of an answer: the logits of a model, the hidden states of a block.

    Raises:
        PrepareError: it has no rows and columns.
    """
    leaves = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)]
    if not leaves or leaves[0].ndim < 2:
        shape = f"a tensor of shape {list(leaves[0].shape)}" if leaves else "no tensor"
        raise PrepareError(f"what is distilled must answer a tensor (batch, …, classes or width) first; it answers {shape}.")
    return leaves[0]


def _watch(model: nn.Module, found: dict[int, Tensor]) -> list[Any]:
    """Let each block of the model's stack leave its answer in ``found`` whenever it runs."""

    def keep(place: int) -> Callable[..., None]:
        return lambda module, args, answer: found.__setitem__(place, first_tensor(answer))

    return [block.register_forward_hook(keep(place)) for place, block in enumerate(blocks_of(model, 1))]
