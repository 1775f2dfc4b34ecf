"""Instruction 22: train on several ranks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop, Training
from strop.contract.workload import TrainingWorkload
from strop.errors import PrepareError
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class DistributedDataParallel(Instruction):
    """Train on several processes, each with its part of every batch.

    What it does:
        Every process takes every n-th sample of each batch. With ``ddp`` it holds the whole model, and gradients are averaged
        while backward still runs, so all processes take the same step. With ``fsdp`` it holds its part of every parameter,
        gradient and moment of the optimizer; a block's parameters are gathered when it runs and forgotten behind it. The
        batch stays as large as the workload says, and the loss is divided by the items of all parts together: the step is
        that of one process. Checkpoints are resumed on as many processes; the trained model is whole on each. Start it with
        torchrun.

    Why it helps:
        Each process does its share of the arithmetic, on its own cores, accelerator or machine. Under ``fsdp`` a model that no
        single process could hold with its optimizer can be trained.

    When it does not:
        Small models and slow links, where exchanging gradients takes longer than computing them; processes that share the
        cores one process would have used alone. Batch norms see only their own part of the batch. ``fsdp`` exchanges about half
        as much again, needs no loss scale and takes no compressed gradients; with a model that fits it only costs time.

    Settings:
        strategy: ddp replicates the model, fsdp spreads it (name).
        backend: who carries the gradients; auto is nccl with CUDA and gloo without (name).
        init_method: where the processes meet (address).
        find_unused_parameters: ddp: look in each step for parameters without gradient, which others would be waited for; unset:
            where the first batch leaves some without (bool).
        bucket_mb: ddp: gradients travel in pieces of about this size (megabytes).
        timeout: how long to wait for a process that does not answer (seconds).

    References:
        Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
        Zhao et al., PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, VLDB 2023.
    """

    card = Card(aims=frozenset({Aim.THROUGHPUT}), fidelity=Fidelity.ROUNDING, prior=1.2, aliases=("ddp",))

    strategy: Literal["ddp", "fsdp"] = "ddp"
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    init_method: str = "env://"
    find_unused_parameters: bool | None = None
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
        accelerators = _cuda()
        if self.backend == "nccl" and not accelerators:
            return "nccl needs CUDA, and torch finds none here; use gloo"
        if self.backend == "gloo" and accelerators:
            return "gloo is for processors, and torch finds accelerators here; use nccl, or set CUDA_VISIBLE_DEVICES= (empty)"
        return None

    def at_wrap(self, draft: Draft, tally: Tally) -> None:
        """Meet the others, take this rank's part of every batch, and wrap the model; count bytes exchanged."""
        from strop.loop import ranks

        plan, here, device = draft.training, ranks.place(), ranks.device()
        assert plan is not None
        unused = self._without_gradient(draft, plan)  # seen on the whole batch, so that all ranks see the same
        ranks.join("gloo" if device == "cpu" else "nccl", self.init_method, self.timeout)
        plan.rank, plan.world = here.rank, here.world
        plan.average = lambda value: ranks.average(value, device)
        plan.batches = ranks.own_part(plan.batches, here.rank, here.world)
        tally.add("ranks", here.world)
        plan.on(LoopEvent.STEP_END, _average_loss)
        draft.model.to(device)
        if self.strategy == "fsdp":
            _spread(draft, device, tally)
        else:
            self._replicate(draft, device, unused, tally)

    def _without_gradient(self, draft: Draft, plan: Training) -> bool:
        """Whether some trained parameters may be without gradient, as told or as the first batch has it."""
        from strop.loop.rehearse import first_batch, without_gradient

        if self.find_unused_parameters is not None or self.strategy == "fsdp" or not len(plan.data):
            return bool(self.find_unused_parameters)
        return bool(without_gradient(draft.model, plan, first_batch(plan)))

    def _replicate(self, draft: Draft, device: str, unused: bool, tally: Tally) -> None:
        from torch.nn.parallel import DistributedDataParallel as Wrapped

        from strop.loop import ranks

        plan = draft.training
        assert plan is not None
        wrapped = Wrapped(
            draft.model,
            device_ids=[ranks.place().local] if device != "cpu" else None,
            find_unused_parameters=unused,
            bucket_cap_mb=self.bucket_mb,
        )
        exchange = plan.exchange or ranks.plain_exchange(lambda count: tally.add("bytes handed to the collective", count))
        wrapped.register_comm_hook(None, lambda state, bucket: exchange(state, bucket))  # torch refuses annotations as text
        draft.model = wrapped

    def at_finish(self, draft: Draft, tally: Tally) -> None:
        """Take the wrapping off; what was spread is gathered when the loop ends well, before anybody finishes."""
        if self.strategy == "ddp":
            draft.model = draft.model.module  # type: ignore[assignment]


def _spread(draft: Draft, device: str, tally: Tally) -> None:
    """Leave this rank its part of every parameter, and gather them when the loop has ended well."""
    from strop.loop import shards
    from strop.surgery.recompute import repeated

    plan, model = draft.training, draft.model
    assert plan is not None
    tally.add("parameter bytes of the model", shards.held(model))
    blocks = repeated(model)
    undo = shards.shard(model, blocks, device, plan.world)
    tally.add("parameter bytes on this rank", shards.held(model))
    tally.add("blocks gathered by themselves", len(blocks))
    plan.spread = shards.spread_again
    handled = sys.exception()  # of a caller that trains while it handles one

    def begin(loop: Loop) -> None:
        if loop.training.loss_scale is not None:
            raise PrepareError(
                "distributed_data_parallel: under fsdp each rank would find other overflows and choose another loss scale; "
                "train in bfloat16, or use strategy ddp."
            )

    def end(loop: Loop) -> None:
        if sys.exception() is handled:  # after an error the other ranks would not come to gather
            undo()

    def whole_norm(loop: Loop) -> None:
        loop.norm = None if loop.norm is None else shards.whole(loop.norm)

    plan.on(LoopEvent.FIT_START, begin)
    plan.on(LoopEvent.BEFORE_STEP, whole_norm)
    plan.on(LoopEvent.FIT_END, end)


def _average_loss(loop: Loop) -> None:
    """Let every rank tell the loss of the whole batch."""
    loop.step_loss = loop.step_loss.new_tensor(loop.training.average(float(loop.step_loss)))


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
