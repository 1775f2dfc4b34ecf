"""What a draft says about its training, and the training that is going on as its handlers see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from strop.contract.loop_event import LoopEvent

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Samples = Sequence[int]
"""Numbers of samples."""

Handler = Callable[["Loop"], None]
"""What is called at an event."""


class Micro(NamedTuple):
    """A micro-batch: what is forwarded at once.

    Attributes:
        batch: what ``collate`` made of its samples, on the training's device.
        samples: how many there are.
        items: how many items its loss is the mean of.
        whole: items of the whole step; of several ranks, their mean.
    """

    batch: Any
    samples: int
    items: int
    whole: float


Driver = Callable[["Loop", Sequence[Micro]], None]
"""Runs forward and backward of a step's micro-batches; pipeline parallelism brings another one."""


Exchange = Callable[[Any, Any], Any]
"""A communication hook of torch's DistributedDataParallel: ``(state, bucket)`` → a future of the averaged bucket."""


class Stateful(Protocol):
    """Something whose state belongs into a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers, texts, and lists, tuples and dicts of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossScale:
    """Dynamic loss scaling, which float16 gradients need.

    Attributes:
        initial: first factor the loss is multiplied by.
        growth: factor after ``interval`` steps without overflow.
        backoff: factor after an overflow, whose step is left out.
        interval: steps without overflow before the scale grows.
    """

    initial: float = 2.0**16
    growth: float = 2.0
    backoff: float = 0.5
    interval: int = 2000


@dataclass(slots=True, kw_only=True)
class Training:
    """What the loop will do. Instructions change it from DATA to LOOP; FIT carries it out once.

    Attributes:
        data: the samples; empty where a loop of the caller's own draws them.
        batches: epoch → the samples of each optimizer step. The same epoch always gives the same batches, which is why
            a checkpoint needs to hold no more than a place in them.
        collate: samples → batch.
        forward: ``(model, batch)`` → outputs.
        loss: ``(outputs, batch)`` → a scalar, or one value per sample.
        items: batch → how many items its loss is the mean of; ``None``: its samples.
        optimizer: the model, as it is after WRAP → its optimizer.
        epochs: passes over the data.
        steps: optimizer steps at most; ``None``: no limit but the epochs.
        split: the micro-batch policy: samples of a step → samples of each micro-batch.
        driver: runs forward and backward of a step; ``None``: one micro-batch after the other.
        schedule: ``(optimizer, steps)`` → learning-rate schedule, moved on after each step taken.
        around: contexts entered around forward and loss of each micro-batch, the last one innermost.
        loss_scale: dynamic scaling; ``None``: none.
        max_norm: gradients are clipped to this norm; ``None``: not.
        rank: number of this process among those that train together.
        world: how many train together.
        average: number on this rank → its mean over all ranks.
        spread: ``(state, model, optimizer)`` → a saved state in which the parts of what is spread over the ranks are that again;
            ``None``: nothing is spread.
        exchange: how ranks average a bucket of gradients; ``None``: as a plain sum in full precision.
        handlers: what is called at which event, in the order added; see :meth:`on`.
        kept: parts whose state belongs into checkpoints, by name; see :meth:`keep`.
    """

    data: Sequence[Any]
    batches: Callable[[int], Sequence[Samples]]
    collate: Callable[[list[Any]], Any]
    forward: Callable[[nn.Module, Any], Any]
    loss: Callable[[Any, Any], Tensor]
    items: Callable[[Any], int] | None
    optimizer: Callable[[nn.Module], Optimizer]
    epochs: int
    steps: int | None
    split: Callable[[Samples], Sequence[Samples]]
    driver: Driver | None = None
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    around: list[Callable[[Loop], AbstractContextManager[Any]]] = field(default_factory=list)
    loss_scale: LossScale | None = None
    max_norm: float | None = None
    rank: int = 0
    world: int = 1
    average: Callable[[float], float] = float
    spread: Callable[[dict[str, Any], nn.Module, Optimizer], dict[str, Any]] | None = None
    exchange: Exchange | None = None
    handlers: list[tuple[LoopEvent, Handler]] = field(default_factory=list)
    kept: dict[str, Stateful] = field(default_factory=dict)

    def on(self, event: LoopEvent, handler: Handler) -> None:
        """Call ``handler`` at each ``event``."""
        self.handlers.append((event, handler))

    def keep(self, name: str, part: Stateful) -> None:
        """Save the state of ``part`` in checkpoints and snapshots, and give it back when they are restored."""
        self.kept[name] = part


class Loop(ABC):
    """The training that is going on. Handlers read it, and steer it by its methods.

    Attributes:
        model: as it is called.
        training: what is being carried out.
        optimizer: exists from FIT_START on.
        device: where model and batches are, as torch writes it.
        total: optimizer steps planned.
        step: optimizer steps finished, those left out or vetoed included.
        epoch: epochs finished.
        place: batches of this epoch finished.
        samples: the samples of this step.
        micro: the micro-batch at work.
        outputs: what forward gave for it.
        loss: what loss gave for it; a handler of AFTER_LOSS may replace it.
        step_loss: mean over the items of the step so far; a tensor without dimensions.
        norm: gradient norm before clipping; ``None`` where nothing clips.
        norms: those of the single gradients, where a handler of GRADS_READY has taken them, so that clipping need not; a handler
            that changes gradients after it sets it to ``None``.
        taken: whether the latest optimizer step was taken: neither vetoed nor left out because of an overflow.
        stopped: why training ends after this step; empty: it goes on.
    """

    model: nn.Module
    training: Training
    optimizer: Optimizer
    device: str
    total: int
    step: int
    epoch: int
    place: int
    samples: Samples
    micro: Micro
    outputs: Any
    loss: Tensor
    step_loss: Tensor
    norm: Tensor | None
    norms: list[Tensor] | None
    taken: bool
    stopped: str

    @abstractmethod
    def forward(self, micro: Micro) -> Tensor:
        """Run forward and loss of a micro-batch; return its share of the step's loss."""

    @abstractmethod
    def backward(self, share: Tensor) -> None:
        """Scale a micro-batch's share of the loss and add its gradients to the step's."""

    @abstractmethod
    def veto(self) -> None:
        """Leave out this step's optimizer step; to be called at GRADS_READY."""

    @abstractmethod
    def stop(self, reason: str) -> None:
        """End training after this step."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training goes on; see :meth:`load_state_dict`.

        The tensors are the live ones: copy them to keep them (``strop.loop.state.copied``).
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`: model, optimizer, schedule, loss scale, random numbers and place."""

    @abstractmethod
    def roll_back(self, state: dict[str, Any]) -> None:
        """Abandon this step, return to ``state``, and never meet this step's batch again; to be called at GRADS_READY.

        The return itself comes after the event's other handlers.
        """
