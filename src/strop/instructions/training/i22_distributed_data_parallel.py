"""Instruction 22: train on several ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop
from strop.contract.workload import TrainingWorkload
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class DistributedDataParallel(Instruction):
    """Train on several processes, each with its part of every batch.

    What it does:
        Every process holds the whole model and takes every n-th sample of each batch; gradients are averaged while backward
        still runs, so all processes take the same step. The batch stays as large as the workload says, and the loss is
        divided by the items of all parts together: the step is that of one process. Start it with torchrun.

    Why it helps:
        Each process does its share of the arithmetic, on its own cores, accelerator or machine.

    When it does not:
        Small models and slow links, where exchanging gradients takes longer than computing them; processes that share the
        cores one process would have used alone. Batch norms see only their own part of the batch.

    Settings:
        backend: who carries the gradients; auto is nccl with CUDA and gloo without (name).
        init_method: where the processes meet (address).
        find_unused_parameters: look for parameters without gradient in each step; needed only where some have none (bool).
        bucket_mb: gradients travel in pieces of about this size (megabytes).
        timeout: how long to wait for a process that does not answer (seconds).

    References:
        Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
    """

    card = Card(aims=frozenset({Aim.THROUGHPUT}), fidelity=Fidelity.ROUNDING, prior=1.2, aliases=("ddp",))

    backend: Literal["auto", "gloo", "nccl"] = "auto"
    init_method: str = "env://"
    find_unused_parameters: bool = False
    bucket_mb: float = 25.0
    timeout: float = 300.0

    def __post_init__(self) -> None:
        for name in ("bucket_mb", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def ties(self) -> Ties:
        """Need a training workload; bring ranks."""
        return ties(needs=(Trait.TRAINING,), adds=(Trait.RANKS,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline in a world of one, with batches that cannot be shared, and nccl without CUDA."""
        from strop.loop.ranks import place

        world = place().world
        if world < 2:
            return "a single process was started, and there is nobody to share the batch with; start it with torchrun"
        if isinstance(draft.workload, TrainingWorkload) and draft.workload.batch_size < world:
            return f"a batch of {draft.workload.batch_size} samples cannot be shared by {world} processes"
        if self.backend == "nccl" and not _cuda():
            return "nccl needs CUDA, and torch finds none here; use gloo"
        return None

    def at_wrap(self, draft: Draft, tally: Tally) -> None:
        """Meet the others, take this rank's part of every batch, and wrap the model; count bytes exchanged."""
        from torch.nn.parallel import DistributedDataParallel as Wrapped

        from strop.loop import ranks

        plan, here = draft.training, ranks.place()
        assert plan is not None
        backend = ("nccl" if _cuda() else "gloo") if self.backend == "auto" else self.backend
        device = f"cuda:{here.local}" if backend == "nccl" else "cpu"
        ranks.join(backend, self.init_method, self.timeout)
        plan.rank, plan.world = here.rank, here.world
        plan.average = lambda value: ranks.average(value, device)
        plan.batches = ranks.own_part(plan.batches, here.rank, here.world)
        wrapped = Wrapped(
            draft.model.to(device),
            device_ids=[here.local] if backend == "nccl" else None,
            find_unused_parameters=self.find_unused_parameters,
            bucket_cap_mb=self.bucket_mb,
        )
        exchange = plan.exchange or ranks.plain_exchange(lambda count: tally.add("bytes handed to the collective", count))
        wrapped.register_comm_hook(None, lambda state, bucket: exchange(state, bucket))  # torch refuses annotations as text
        draft.model = wrapped
        tally.add("ranks", here.world)
        plan.on(LoopEvent.STEP_END, _average_loss)

    def at_finish(self, draft: Draft, tally: Tally) -> None:
        """Take the wrapping off."""
        draft.model = draft.model.module  # type: ignore[assignment]


def _average_loss(loop: Loop) -> None:
    """Let every rank tell the loss of the whole batch."""
    loop.step_loss = loop.step_loss.new_tensor(loop.training.average(float(loop.step_loss)))


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
