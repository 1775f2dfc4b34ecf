"""Which instructions are worth trying first, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from strop.contract.draft import Facts
from strop.diagnose.diagnosis import PointDiagnosis, Suggestion
from strop.measure.host import Host
from strop.units import show_share

WORTH = 1.05
"""Smallest predicted gain that is suggested."""


class Effect(NamedTuple):
    """By how much an instruction divides the three parts of a call's time."""

    products: float
    overhead: float
    rest: float

    def gain(self, point: PointDiagnosis) -> float:
        """Predict the speed-up: shares of the call divided by what is done to each (Amdahl's law)."""
        inside = 1 - point.overhead_share
        products, rest = inside * point.product_share, inside * (1 - point.product_share)
        return 1 / (products / self.products + point.overhead_share / self.overhead + rest / self.rest)


@dataclass(frozen=True, slots=True)
class Rule:
    """An instruction, what it does to time where it applies, and when it applies.

    ``applies`` returns the reason in words, or ``None``.
    """

    number: int
    name: str
    effect: Callable[[Host], Effect]
    applies: Callable[[Facts, Host], str | None]


def suggest(facts: Facts, points: Sequence[PointDiagnosis], host: Host) -> tuple[Suggestion, ...]:
    """Order the instructions that apply to this model and host by predicted gain, the geometric mean over the points.

    The predictions only decide what is tried first; what pays is measured.
    """
    found = []
    for rule in RULES:
        why = rule.applies(facts, host)
        gain = 1.0
        for point in points:
            gain *= rule.effect(host).gain(point) ** (1 / len(points))
        if why is not None and gain >= WORTH:
            found.append(Suggestion(rule.number, rule.name, f"{why}; {_where(points)}", round(gain, 2)))
    return tuple(sorted(found, key=lambda s: (-s.gain, s.number)))


def _where(points: Sequence[PointDiagnosis]) -> str:
    worst = max(points, key=lambda p: p.seconds)
    return (
        f"at {worst.point} {show_share(worst.overhead_share)} of a call is overhead and "
        f"{show_share(worst.product_share)} of the operators' time is products"
    )


def _ratio(host: Host, dtype: str, default: float) -> float:
    """Return how much faster products are in ``dtype``: half of what the roofs say, as models do not reach roofs."""
    base, other = host.roofs.get("gemm_float32"), host.roofs.get(f"gemm_{dtype}")
    return max(1.0, other / base / 2) if base and other else default


def _count(facts: Facts, *parts: str) -> int:
    return sum(n for name, n in facts.modules.items() if any(part in name for part in parts))


def _layers(count: int, kind: str = "") -> str:
    return f"{count} {kind}layer{'s' * (count != 1)}"


def _amp(facts: Facts, host: Host) -> str | None:
    has = bool({"avx512_bf16", "amx_bf16"} & host.isa or host.accelerators)
    return "the host multiplies bfloat16 natively" if has else None


def _dynamic(facts: Facts, host: Host) -> str | None:
    linear, conv = _count(facts, "Linear", "LSTM", "GRU"), _count(facts, "Conv2d", "Conv1d", "Conv3d")
    return f"{_layers(linear, 'linear or recurrent ')} could run in int8 without calibration" if linear > conv else None


def _static(facts: Facts, host: Host) -> str | None:
    layers = _count(facts, "Linear", "Conv")
    return f"{_layers(layers)} could run in int8 with calibrated ranges" if layers and facts.splits.get("calibration") else None


def _fusion(facts: Facts, host: Host) -> str | None:
    norms, layers = _count(facts, "BatchNorm"), _count(facts, "Linear", "Conv")
    folded = f"{norms} batch norm{'s' * (norms > 1)} could be folded and " if norms else ""
    return f"{folded}{_layers(layers)} could be fused with what follows" if layers else None


def _always(facts: Facts, host: Host) -> str | None:
    return "one graph without Python between operators, fused and planned once"


def _layout(facts: Facts, host: Host) -> str | None:
    convolutions = _count(facts, "Conv2d", "Conv2dStatic", "Conv2dDynamic")
    return f"{convolutions} convolution{'s' * (convolutions > 1)} could read channels-last images" if convolutions else None


RULES = (
    Rule(18, "amp_optimizer", lambda h: Effect(_ratio(h, "bfloat16", 2.0), 1.0, 1.0), _amp),
    Rule(28, "dynamic_quantization", lambda h: Effect(_ratio(h, "int8", 3.0), 3.0, 2.0), _dynamic),
    Rule(29, "static_quantization", lambda h: Effect(_ratio(h, "int8", 3.0), 4.0, 3.0), _static),
    Rule(31, "kernel_fusion", lambda _: Effect(1.5, 1.2, 1.5), _fusion),
    Rule(35, "graph_compile", lambda _: Effect(1.1, 2.0, 2.0), _always),
    Rule(38, "memory_layout", lambda _: Effect(1.15, 1.0, 1.1), _layout),
    Rule(47, "model_serving_framework", lambda _: Effect(1.5, 4.0, 3.0), _always),
)
"""Effects are rounded from side-by-side runs of small transformers and convolutional networks on one CPU."""
