"""Instruction 16: saved activations and exchanged gradients in fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft
from strop.contract.instruction import Instruction
from strop.contract.loop_event import LoopEvent
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop, Training
from strop.errors import PrepareError
from strop.measure.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class MemoryCompression(Instruction):
    """Keep activations for backward in 16 or 8 bits, and exchange gradients in 4.

    What it does:
        Between forward and backward autograd keeps tensors of 32 bits; here each is rounded to ``activations`` when it is
        saved and widened again when backward asks for it. Forward is not touched, so the loss is the same to the bit and
        only gradients are rounded. Parameters, inputs, integers, small tensors and numbers of 16 bits stay as they are, and so
        does what the format cannot hold. With ``gradient_bits`` every rank hands its gradients to all others as multiples of
        a scale shared by 64 neighbours; what rounding took is added to the gradients of the next step.

    Why it helps:
        Saved activations are most of the memory of training, and half of their bits are below the noise of a batch.
        Gradients in 4 bits are 13.3 % of the bytes, where the link between ranks is what training waits for.

    When it does not:
        Memory is no limit: rounding and widening only cost time. Under automatic casting most of what is saved has 16 bits
        already. A tensor is widened whole when backward comes to it: where the largest is the last one saved, such as the
        logits of a language model, less is held but the peak of a step stays. Of a block that gradient_checkpointing
        recomputes only the input is saved, and only that can be packed: the savings of both do not add up. Gradients gathered
        from all ranks cost more than a plain sum from 16 ranks on (from 8 with 8 bits). Models sharded by FSDP exchange
        gradients in their own way, which has no place for this.

    Settings:
        activations: how numbers are kept; none leaves activations alone (name).
        gradient_bits: bits of a gradient between ranks; unset: gradients travel whole (bits).
        smallest: tensors below are left alone (bytes).
        threshold: activations are packed in steps that begin with more of the memory in use; 0: always (share).
        error_feedback: whether rounding errors of gradients are sent later instead of lost (bool).

    References:
        Chen et al., ActNN: Reducing Training Memory Footprint via 2-Bit Activation Compressed Training, ICML 2021.
        Seide et al., 1-Bit Stochastic Gradient Descent, Interspeech 2014 (error feedback).
        Karimireddy et al., Error Feedback Fixes SignSGD and other Gradient Compression Schemes, ICML 2019.
    """

    card = Card(aims=frozenset({Aim.MEMORY}), fidelity=Fidelity.LOSSY, enabler=True, prior=0.9, aliases=("memory_compressor",))

    activations: Annotated[Literal["bfloat16", "float16", "int8", "none"], Choices("bfloat16", "int8")] = "bfloat16"
    gradient_bits: Literal[4, 8] | None = None
    smallest: int = 16384
    threshold: float = 0.0
    error_feedback: bool = True

    def __post_init__(self) -> None:
        if self.smallest < 0:
            raise ValueError(f"smallest must be 0 or more bytes, got {self.smallest}")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold is a share of the memory and must be from 0 to below 1, got {self.threshold}")

    def ties(self) -> Ties:
        """Need a training workload, and ranks for gradients."""
        return ties(needs=(Trait.TRAINING, Trait.RANKS) if self.gradient_bits else (Trait.TRAINING,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline where nothing was asked for, and gradients that are sharded or would travel in more bytes than before."""
        if self.activations == "none" and not self.gradient_bits:
            return "it was told to pack neither activations nor gradients"
        if not self.gradient_bits:
            return None
        from torch.distributed.fsdp import FSDPModule

        from strop.loop.compress import break_even
        from strop.loop.ranks import place
        from strop.surgery.codes import Code

        if any(isinstance(module, FSDPModule) for module in draft.model.modules()):
            return "the model is sharded by FSDP, whose gradients are exchanged without the hook that this needs"
        world, most = place().world, break_even(Code(self.gradient_bits))
        if world >= most:
            return (
                f"gathering {self.gradient_bits}-bit gradients from {world} ranks puts more bytes on the wire than a plain sum; "
                f"that is so from {most} ranks on"
            )
        return None

    def at_recompute(self, draft: Draft, tally: Tally) -> None:
        """Pack around forward, and replace the exchange of gradients; count bytes."""
        plan = draft.training
        assert plan is not None
        if self.activations != "none":
            plan.around.append(_around(self, tally))
        if self.gradient_bits:
            self._exchange(draft, plan, self.gradient_bits, tally)

    def _exchange(self, draft: Draft, plan: Training, bits: int, tally: Tally) -> None:
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel

        from strop.loop.compress import Remainders, coded_exchange, wire_bytes
        from strop.surgery.codes import Code

        def count(handed: int, plain: int) -> None:
            sent, usual = wire_bytes(handed, plain, dist.get_world_size())
            tally.add("bytes handed to the collective", handed)
            tally.add("bytes handed to it without", plain)
            tally.add("bytes sent by each rank", sent)
            tally.add("bytes sent by each rank without", usual)

        remainders = Remainders() if self.error_feedback else None
        names = {id(parameter): name for name, parameter in draft.model.named_parameters()}
        exchange = coded_exchange(Code(bits), names, remainders, count)
        plan.exchange = exchange
        if isinstance(draft.model, DistributedDataParallel):  # a loop of the caller's own has wrapped it already
            draft.model.register_comm_hook(None, lambda state, bucket: exchange(state, bucket))
        plan.on(LoopEvent.FIT_START, _check)
        if remainders is not None:
            plan.keep(self.name, remainders)


def _around(settings: MemoryCompression, tally: Tally) -> Callable[[Loop], AbstractContextManager[Any]]:
    """Return the context around forward; what it packs is counted the first time."""
    told: list[bool] = []

    @contextmanager
    def packing(loop: Loop) -> Iterator[None]:
        from strop.surgery.packing import Packing

        assert settings.activations != "none"
        with Packing(settings.activations, _besides(loop), settings.smallest) as work:
            yield
        if not told:
            told.append(True)
            tally.add("tensors packed", work.packed)
            tally.add("bytes no longer kept", work.freed)

    return lambda loop: packing(loop) if not settings.threshold or _used(loop.device) > settings.threshold else nullcontext()


def _besides(loop: Loop) -> list[Tensor]:
    """Return what lives anyway; a loop of the caller's own does not say which micro-batch it is at."""
    from torch import Tensor
    from torch.utils._pytree import tree_leaves

    batch = tree_leaves(loop.micro.batch) if hasattr(loop, "micro") else []
    return [*loop.model.parameters(), *loop.model.buffers(), *(leaf for leaf in batch if isinstance(leaf, Tensor))]


def _used(device: str) -> float:
    """Return the share of the device's memory that is in use, or of what the control group allows this process."""
    if device.startswith("cuda"):
        import torch

        free, total = torch.cuda.mem_get_info(device)
        return 1 - free / total
    import psutil

    from strop.measure.host import usable_memory

    memory = psutil.virtual_memory()
    return max(1 - memory.available / memory.total, psutil.Process().memory_info().rss / usable_memory())


def _check(loop: Loop) -> None:
    """Refuse what would make gradients in few bits wrong, before the first step."""
    from torch.nn.parallel import DistributedDataParallel

    if not isinstance(loop.model, DistributedDataParallel):
        raise PrepareError(
            f"memory_compression: gradients in few bits need torch's DistributedDataParallel around the model, which is a "
            f"{type(loop.model).__name__}; add distributed_data_parallel with strategy ddp to the recipe, or unset gradient_bits."
        )
    if loop.training.loss_scale is not None:
        raise PrepareError(
            "memory_compression: rounding errors are kept from step to step, and a loss scale would change their unit; "
            "train in bfloat16, or unset gradient_bits."
        )
