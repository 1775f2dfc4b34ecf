"""Instruction 28: int8 with ranges taken from each input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from strop.contract.card import Aim, Card, Fidelity
from strop.contract.device import processor_only
from strop.contract.draft import Draft, Quantization
from strop.contract.instruction import Instruction
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.measure.host import Host
from strop.units import show_share


@final
@dataclass(frozen=True, kw_only=True)
class DynamicQuantization(Instruction):
    """Run linear and recurrent layers in int8 with activation ranges taken from each input.

    What it does:
        Declares that weights of linear and recurrent layers are stored in int8, and that the engine finds the range of
        each activation while answering. Needs no calibration data.

    Why it helps:
        A quarter of the bytes of float32 weights and integer arithmetic in the products. Ranges fit every input, so it
        often loses less accuracy than badly calibrated static ranges.

    When it does not:
        Convolutions: engines quantise none of them, or run them slower than in float32. Very small layers, where finding
        the range costs more than the product. Activations with outliers inside one tensor.

    Settings:
        per_channel: one scale per output channel of a weight instead of one per weight (bool).
        keep_float: operators that stay in floating point, by their names in the model (names).

    References:
        Zafrir et al., Q8BERT: Quantized 8Bit BERT, 2019.
        Nagel et al., A White Paper on Neural Network Quantization, 2021.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT, Aim.MEMORY, Aim.SIZE}),
        fidelity=Fidelity.LOSSY,
        prior=2.0,
    )

    per_channel: bool = True
    keep_float: tuple[str, ...] = ()

    def ties(self) -> Ties:
        """Need an engine that quantises activations on the fly; exclude other quantisers, and accelerators."""
        excluded = (Trait.QUANTIZED, Trait.ACCELERATOR)
        return ties(needs=(Trait.DYNAMIC_INT8_ENGINE,), adds=(Trait.QUANTIZED,), excludes=excluded)

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline on an accelerator, and when linear and recurrent layers hold less than half of the matrix weights."""
        if elsewhere := processor_only("int8 with ranges found on the fly", draft.device):
            return elsewhere
        weights = draft.facts.matrix_weights
        total = sum(weights.values())
        linear = total - weights.get("convolution", 0)
        if not linear:
            return "the model has no linear or recurrent weights, and convolutions are not quantised on the fly"
        if linear < total / 2:
            return (
                f"only {show_share(linear / total)} of the matrix weights are linear or recurrent; "
                f"convolutions do not gain from ranges found on the fly"
            )
        return None

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        """Declare the quantisation; the engine counts the operators it quantised."""
        draft.quantization = Quantization(mode="dynamic", per_channel=self.per_channel, keep_float=self.keep_float, tally=tally)
