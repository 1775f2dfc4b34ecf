"""Instruction 38: memory layout, threads and affinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.device import PROCESSOR
from strop.contract.draft import Draft, Facts
from strop.contract.instruction import Instruction, Launch
from strop.contract.settings import Choices, Space, annotated_space
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class MemoryLayout(Instruction):
    """Store images channels-last, and choose how many cores answer one call and whether they are bound.

    What it does:
        Stores convolution weights, and the activations between them, with the channels of a pixel side by side. Sets how
        many threads one call uses and binds them to cores.

    Why it helps:
        Vector instructions work on many channels of a pixel at once, and find them in one cache line. Small models
        answer sooner on fewer cores, because waiting for the slowest thread costs more than the work. Bound threads keep
        their caches.

    When it does not:
        Models without convolutions have no layout to choose; other engines choose it themselves. Binding hurts when
        other work is bound to the same cores. On an accelerator there is the layout only.

    Settings:
        channels_last: store images and convolution weights channels-last; eager engine only (bool).
        threads: cores that answer one call, 0 for all (count).
        pin: bind threads to cores (bool).

    References:
        PyTorch documentation, Channels Last Memory Format.
        OpenMP API Specification, OMP_PLACES and OMP_PROC_BIND.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT}),
        fidelity=Fidelity.ROUNDING,
        enabler=True,
        prior=1.1,
        aliases=("channels_last",),
    )
    opening: ClassVar[frozenset[str]] = frozenset({"threads", "pin"})

    channels_last: Annotated[bool, Choices(True, False)] = True
    threads: int = 0
    pin: Annotated[bool, Choices(False, True)] = False

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ValueError(f"threads must be 0 (all cores) or more, got {self.threads}")

    def ties(self) -> Ties:
        """Exclude other engines when a layout is chosen: they choose their own."""
        return ties(excludes=(Trait.ENGINE,)) if self.channels_last else ties()

    def launch(self, host: Host) -> Launch:
        """Set what OpenMP reads once, when the process starts."""
        count = self.threads or host.cores
        bound = {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"} if self.pin else {}
        return Launch(environment={"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count), **bound})

    def space(self, facts: Facts, host: Host) -> Space:
        """Offer all cores, half of them and one, where cores answer; a layout only where there are convolutions."""
        choices = dict(annotated_space(type(self)))
        if host.accelerators:
            del choices["pin"]
        else:
            choices["threads"] = tuple(dict.fromkeys((0, *(n for n in (host.cores // 2, 1) if 0 < n < host.cores))))
        if not any(name.startswith("Conv") for name in facts.modules):
            choices["channels_last"] = (False,)
        return choices

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline when nothing would change, more cores are asked for than there are, or cores do not answer."""
        from torch import nn

        from strop.surgery.modules import has

        if (self.threads or self.pin) and draft.device != PROCESSOR:
            return f"threads and pin are for the processor's cores, and this workload is on {draft.device}"
        if self.threads > host.cores:
            return f"{self.threads} threads were asked for, but the host gives {host.cores} cores"
        if self.channels_last and not has(draft.model, nn.Conv2d, nn.ConvTranspose2d):
            return "the model has no two-dimensional convolution, so there is no layout to choose"
        if not self.channels_last and self.threads in (0, host.cores) and not self.pin:
            return "layout, threads and binding are all left as they are"
        return None

    def at_freeze(self, draft: Draft, tally: Tally) -> None:
        """Lay out weights; count them, and the options that will be set at opening."""
        import torch

        from strop.surgery.layout import channels_last

        if self.channels_last:
            weights = [p for p in draft.model.parameters() if p.ndim == 4]
            before = sum(not w.is_contiguous(memory_format=torch.channels_last) for w in weights)
            channels_last(draft.model)
            tally.add("weights laid out", before)
            tally.add("image layout", draft.layout != "channels_last")
            draft.layout = "channels_last"
        tally.add("options of opening", (self.threads != draft.engine_options.threads) + (self.pin != draft.engine_options.pin))

    def at_engine(self, draft: Draft, tally: Tally) -> None:
        """Set threads and binding."""
        draft.engine_options.threads = self.threads
        draft.engine_options.pin = self.pin
