"""Instruction 29: int8 with calibrated ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, final

from strop.contract.card import Aim, Card, Cost, Fidelity
from strop.contract.device import processor_only
from strop.contract.draft import Draft, Quantization
from strop.contract.instruction import Instruction
from strop.contract.settings import Choices
from strop.contract.tally import Tally
from strop.contract.ties import Ties, Trait, ties
from strop.measure.host import Host


@final
@dataclass(frozen=True, kw_only=True)
class StaticQuantization(Instruction):
    """Run eligible operators in int8 with activation ranges calibrated beforehand.

    What it does:
        Declares that products and convolutions run in int8. The engine feeds the calibration split through the model,
        records the range of every activation, and stores weights and ranges as 8-bit integers with scales.
        Operators named in ``keep_float`` stay in floating point; after lowering, the draft lists all quantised
        operators by how far they depart, so that the search can hand the worst of them back until the guard holds.

    Why it helps:
        A quarter of the bytes of float32, and vector units multiply four times as many int8 as float32 numbers per cycle
        (AVX-512 VNNI, AMX). No range has to be found while answering.

    When it does not:
        Activations with outliers, depthwise convolutions and calibration data unlike the traffic cost accuracy. Operators
        that cannot be quantised force conversions around them. Dispatch-bound models gain little.

    Settings:
        symmetric: activation ranges symmetric about zero; suits weights, often wastes half the range of activations (bool).
        per_channel: one scale per output channel of a weight instead of one per weight (bool).
        range_estimator: minmax takes extremes, mean_minmax averages them over inputs, percentile cuts outliers (name).
        smooth: strength of moving activation outliers into the weights of transformers, 0 to 1; unset: what suits the
            engine (share).
        keep_float: operators that stay in floating point, named as the sensitivity list names them (names).

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018.
        Nagel et al., A White Paper on Neural Network Quantization, 2021.
        Xiao et al., SmoothQuant, ICML 2023.
    """

    card = Card(
        aims=frozenset({Aim.LATENCY, Aim.THROUGHPUT, Aim.MEMORY, Aim.SIZE}),
        fidelity=Fidelity.LOSSY,
        cost=Cost.CALIBRATE,
        prior=2.5,
    )

    symmetric: Annotated[bool, Choices(False, True)] = False
    per_channel: bool = True
    range_estimator: Annotated[Literal["minmax", "mean_minmax", "percentile"], Choices("minmax", "mean_minmax")] = "minmax"
    smooth: float | None = None
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.smooth is not None and not 0 <= self.smooth <= 1:
            raise ValueError(f"smooth is a share between 0 and 1, got {self.smooth}")

    def ties(self) -> Ties:
        """Need an engine that runs calibrated int8; exclude other quantisers, and accelerators."""
        excluded = (Trait.QUANTIZED, Trait.ACCELERATOR)
        return ties(needs=(Trait.STATIC_INT8_ENGINE,), adds=(Trait.QUANTIZED,), excludes=excluded)

    def decline(self, draft: Draft, host: Host) -> str | None:
        """Decline on an accelerator, without calibration data, and without anything to quantise."""
        if elsewhere := processor_only("calibrated int8", draft.device):
            return elsewhere
        if not len(draft.workload.calibration.inputs):
            return "the workload has no calibration split; static ranges need one, apart from the evaluation data"
        if not draft.facts.matrix_weights:
            return "the model has no linear, convolution or recurrent weights to quantise"
        return None

    def at_lower(self, draft: Draft, tally: Tally) -> None:
        """Declare the quantisation; the engine calibrates, and counts the operators it quantised."""
        draft.quantization = Quantization(
            mode="static",
            symmetric=self.symmetric,
            per_channel=self.per_channel,
            range_estimator=self.range_estimator,
            smooth=self.smooth,
            keep_float=self.keep_float,
            tally=tally,
        )
