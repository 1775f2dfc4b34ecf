"""Instruction 18: mixed precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.draft import Draft, Precision
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.contract.training import Loop, LossScale
from strop.measure.host import Host

FP16_FLAGS = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@final
@dataclass(frozen=True, kw_only=True)
class AmpOptimizer(Instruction):
    """Run matrix products in 16-bit floating point and keep sums and norms in 32 bits.

    What it does:
        Declares that floating-point operators run in ``dtype``. The engine decides operator by operator: products and
        convolutions in 16 bits with 32-bit accumulation, reductions that lose too much stay in 32 bits.
        An inference draft has no master weights, so O1, O2 and O3 declare the same intent there; O0 switches it off.
        In training O1 runs forward and loss under torch's automatic casting, weights and optimizer staying in 32 bits;
        float16 gets dynamic loss scaling, which leaves a step out after an overflow. O2 and O3 are for inference only.

    Why it helps:
        Half the bytes travel from memory, and processors with bf16 or fp16 units multiply two to sixteen times as many
        numbers per cycle.

    When it does not:
        Processors without such units emulate them and become slower. Small models are limited by dispatch, not by
        arithmetic. Models with large dynamic range (fp16) or long sums (bf16, 8 significant bits) lose accuracy.

    Settings:
        opt_level: O0 off; O1 automatic casting; O2 half weights with 32-bit masters and norms; O3 all in 16 bits (name).
        dtype: 16-bit format; fp8 is declined where the hardware has no fp8 units (name).
        loss_scale_factor: first factor the loss is multiplied by when training in fp16; unset: init_scale (factor).
        init_scale: first factor of dynamic loss scaling when loss_scale_factor is unset; bf16 needs none (factor).
        growth_factor: growth of the loss scale after steps without overflow, training only (factor).
        backoff_factor: shrinking of the loss scale after an overflow, training only (factor).

    References:
        Micikevicius et al., Mixed Precision Training, ICLR 2018.
        Kalamkar et al., A Study of BFLOAT16 for Deep Learning Training, 2019.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT, Aim.MEMORY}),
        fidelity=Fidelity.LOSSY,
        prior=2.0,
        aliases=("amp", "mixed_precision"),
    )

    opt_level: Literal["O0", "O1", "O2", "O3"] = "O1"
    dtype: Annotated[Literal["bfloat16", "float16", "fp8"], Choices("bfloat16")] = "bfloat16"
    loss_scale_factor: float | None = None
    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5

    def __post_init__(self) -> None:
        scales = {"loss_scale_factor": self.loss_scale_factor or 1.0, "init_scale": self.init_scale}
        for name, value in scales.items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not self.backoff_factor < 1 < self.growth_factor or self.backoff_factor <= 0:
            raise ValueError(
                f"0 < backoff_factor < 1 < growth_factor is needed, got {self.backoff_factor} and {self.growth_factor}"
            )

    def ties(self) -> Ties:
        """Need an engine that runs 16-bit products."""
        if self.opt_level == "O0":
            return ties()
        return ties(needs=(Trait.BF16_ENGINE,), adds=(Trait.REDUCED_PRECISION,))

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline when switched off, when this host would emulate the format, and half weights in training."""
        if self.opt_level == "O0":
            return "opt_level O0 switches mixed precision off"
        if draft.training is not None and self.opt_level in ("O2", "O3"):
            return f"opt_level {self.opt_level} would keep half weights, which training does not offer; use O1"
        if host.accelerators and self.dtype != "fp8":
            return None
        flags = {"bfloat16": BF16_FLAGS, "float16": FP16_FLAGS, "fp8": frozenset[str]()}[self.dtype]
        if not flags & host.isa:
            return f"{host.cpu} has no {self.dtype} units ({', '.join(sorted(flags)) or 'none known'}); emulation is slower"
        return None

    def at_loop(self, draft: Draft, tally: Tally) -> None:
        """Cast in training; count the products of the first forward by the format they ran in."""
        plan = draft.training
        if plan is None or self.opt_level == "O0" or self.dtype == "fp8":
            return
        wanted = self.dtype

        def casting(loop: Loop) -> AbstractContextManager[Any]:
            import torch

            return torch.autocast(loop.device.partition(":")[0], getattr(torch, wanted))

        plan.around.append(casting)
        plan.around.append(_counting_once(wanted, tally))
        if wanted == "float16":
            plan.loss_scale = LossScale(
                initial=self.loss_scale_factor or self.init_scale, growth=self.growth_factor, backoff=self.backoff_factor
            )

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        """Declare the precision; the engine counts the operators it casts."""
        if self.opt_level != "O0" and self.dtype != "fp8":
            draft.precision = Precision(dtype=self.dtype, tally=tally)


def _counting_once(dtype: str, tally: Tally) -> Callable[[Loop], AbstractContextManager[Any]]:
    """Return a context that counts in the first micro-batch and is nothing afterwards."""
    counted: list[bool] = []

    def context(loop: Loop) -> AbstractContextManager[Any]:
        if counted:
            return nullcontext()
        counted.append(True)
        from strop.surgery.products import ProductCounter

        return ProductCounter(dtype, lambda low: tally.add(f"products in {dtype}", int(low)))

    return context
