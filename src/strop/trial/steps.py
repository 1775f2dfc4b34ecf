"""What the process of a timed training runs: optimizer steps, a few at a time, spread evenly over the epochs' batches.

A technique may change the batches, so that no step of one arm has a counterpart in the other; what can be compared is the
time for equally many samples. One call is therefore a *sweep*: :data:`STEPS` optimizer steps on batches drawn from all
batches of the training in the order of their padded size, one from each quarter. Within the quarters the places mirror each
other (``u``, ``1 - u``, ``u``, ``1 - u``), which cancels a slope: on batches whose size grows evenly every sweep costs the
same, and four steps stand for the whole epoch. The place is a function of the input's number alone, hence alike in both arms.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from strop.contract.examples import digest
from strop.contract.loop_event import LoopEvent
from strop.contract.pytree import flatten
from strop.contract.training import Samples, Training
from strop.contract.workload import TrainingWorkload
from strop.errors import DeclinedError, NoEffectError, TrainingError
from strop.loop.evaluate import evaluate
from strop.loop.loop import TrainingLoop
from strop.loop.ranks import device
from strop.loop.state import copied, own_random_numbers
from strop.measure.clock import monotonic_ns
from strop.measure.host import read_host
from strop.measure.memory import tensor_peak
from strop.pipeline import Outcome, Preparation, begin_training, told
from strop.trial.course import looking_steps
from strop.trial.training import TrainingTask

POINT = "steps"
STEPS = 4
"""Optimizer steps of a sweep. With four mirrored places the cost of sweeps spreads by less than 5 % where the batches' sizes
differ by a factor of four (tests/trial/test_steps.py), which the mean over pairs takes away; the mean of logarithms departs
from that of times by the half of its square, 0.1 %. And four steps are short enough for ten pairs in a screening."""

SWEEPS = 64
"""Different sweeps; more of them would only take nearer neighbours."""

MOST_MET = 64
"""Batches that are taken to meet their sizes: where lengths differ by a factor of four, each within 2 % of the next."""

MOST_BATCHES = 4096
"""Batches looked at: those of all epochs, or of the first ones where the epochs hold more."""


class StepsTarget:
    """A training that can be driven on, sweep by sweep; what ``strop.measure`` calls a target.

    When it has taken all its planned steps it begins anew from its first state, so that neither a schedule nor the weights
    leave the range that a real training goes through.

    Args:
        loop: entered.
        workload: what is trained.
        batches: the samples of each batch that may be drawn, smallest first, equally many in each.
        outcome: says what became of the recipe, once a step was taken: :func:`strop.pipeline.told`.
        stack: what is closed with the target.
    """

    def __init__(
        self,
        loop: TrainingLoop,
        workload: TrainingWorkload,
        batches: Sequence[Samples],
        outcome: Callable[[], Preparation],
        stack: contextlib.ExitStack,
    ) -> None:
        self.points = {POINT: SWEEPS}
        self._loop, self._workload, self._batches = loop, workload, batches
        self._outcome, self._stack = outcome, stack
        self._first = copied(loop.state_dict())
        self._checked = False
        loop.fire(LoopEvent.EPOCH_START)

    def run(self, point: str, index: int) -> None:
        """Take the steps of one sweep.

        Raises:
            TrainingError: training stopped or its loss is not a finite number.
            NoEffectError: an instruction of the recipe has changed nothing in the first sweep.
        """
        loop = self._loop
        for place in sweep(index, len(self._batches)):
            if loop.step >= loop.total:
                loop.load_state_dict(copied(self._first))
            loop.take(self._batches[place])
            if loop.stopped:
                raise TrainingError(f"training stopped after {loop.step} steps: {loop.stopped}")
        if not math.isfinite(float(loop.step_loss)):
            raise TrainingError(f"the loss is {float(loop.step_loss):g} after {loop.step} steps")
        if not self._checked:
            self._checked, done = True, self._outcome()
            if done.outcome is Outcome.NO_EFFECT:
                raise NoEffectError(done.reason)

    def meet_sizes(self) -> None:
        """Take a step on batches of all sizes, and begin anew.

        An accelerator loads kernels, and chooses among them, when a size first comes: on an H200 such a step took ten times as
        long as the next one of its size, and a training that meets its sizes while it is timed looks that much slower.
        """
        count = min(MOST_MET, len(self._batches))
        for number in range(1, count + 1):
            self._loop.take(self._batches[number * len(self._batches) // count - 1])
        self._loop.load_state_dict(copied(self._first))

    def digest(self, point: str, index: int) -> str:
        """Return a digest of what the model answers now to the first batch of a sweep."""
        return digest(self._answer(index))

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Return the shapes of that answer's arrays."""
        return [list(leaf.shape) for leaf in flatten(self._answer(index))[0]]

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``told`` (what became of the recipe, as JSON), ``size`` (of the whole training) or ``tensor_peak``."""
        if method == "told":
            return self._outcome().to_json()
        if method == "size":
            return self._size()
        if method == "tensor_peak":
            return tensor_peak(partial(self._loop.take, self._batches[-1]), self._loop.device)
        raise ValueError(f"a training target has no method {method!r}")

    def close(self) -> None:
        """Leave the loop."""
        self._stack.close()

    def _size(self) -> dict[str, float]:
        """Planned steps, samples in each, and the seconds that a whole training spends on being looked at and judged."""
        workload, judging = self._workload, 0.0
        if not workload.metric.unjudged:
            for split, times in ((workload.confirming, 1), (workload.screening, len(looking_steps(self._loop.total)))):
                start = monotonic_ns()
                if len(split.inputs):
                    evaluate(self._loop, workload.metric, split)
                judging += times * (monotonic_ns() - start) / 1e9
        return {"steps": self._loop.total, "samples": len(self._batches[0]), "judging": judging}

    def _answer(self, index: int) -> Any:
        loop = self._loop
        (micro, *_) = loop.micros(self._batches[sweep(index, len(self._batches))[0]])
        loop.model.eval()
        try:
            with torch.no_grad():
                return loop.training.forward(loop.model, micro.batch)
        finally:
            loop.model.train()


def open_steps(arguments: Mapping[str, Any]) -> StepsTarget:
    """Build the workload's training, let the recipe act, and enter the loop.

    Args:
        arguments: of :class:`strop.trial.training.TrainingTask`.

    Raises:
        DeclinedError: an instruction does not fit, or the recipe leaves too few batches of the usual size.
        MissingExtraError: an instruction needs a package that is not installed.
    """
    draft, recipe = TrainingTask.from_json(arguments).build()
    workload, training = draft.workload, draft.training
    assert isinstance(workload, TrainingWorkload) and training is not None
    with own_random_numbers(draft.seed):
        tallies = begin_training(draft, recipe, read_host(accelerators=True))
    batches = by_size(training, workload)
    stack = contextlib.ExitStack()
    loop = stack.enter_context(TrainingLoop(draft.model, training, seed=draft.seed, device=device()))
    target = StepsTarget(loop, workload, batches, partial(told, draft, recipe, draft.engine, tallies), stack)
    if loop.device != "cpu":
        target.meet_sizes()
    return target


def by_size(training: Training, workload: TrainingWorkload) -> list[Samples]:
    """Return the batches of the training that hold as many samples as the workload asks for, by padded size.

    Raises:
        DeclinedError: fewer than half of the samples are in such batches.
    """
    planned: list[Samples] = []
    for epoch in range(training.epochs):
        planned += training.batches(epoch)
        if len(planned) >= MOST_BATCHES:
            break
    planned = planned[: training.steps]
    usual = min(workload.batch_size, len(workload.data))
    whole = [samples for samples in planned if len(samples) == usual]
    if 2 * sum(map(len, whole)) < sum(map(len, planned)):
        raise DeclinedError(
            f"most of its batches hold another number of samples than batch_size={workload.batch_size}; steps of unlike size "
            f"cannot be compared"
        )
    length = workload.length
    if length is not None:
        lengths = [length(workload.data[number]) for number in range(len(workload.data))]
        whole.sort(key=lambda batch: sum(len(p) * max(lengths[n] for n in p) for p in training.split(batch) if len(p)))
    return whole


def sweep(index: int, available: int) -> list[int]:
    """Return the places, among ``available`` batches in the order of their size, of sweep number ``index``."""
    u = (index + 0.5) / SWEEPS
    return [int((part + (u if part % 2 == 0 else 1 - u)) * available / STEPS) for part in range(STEPS)]
