"""Front doors of the instructions that act in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from strop.errors import UsageError, did_you_mean
from strop.instructions.training.i13_numeric_stability_monitor import NumericStabilityMonitor as _Monitor
from strop.instructions.training.i16_memory_compression import MemoryCompression
from strop.instructions.training.i22_distributed_data_parallel import DistributedDataParallel
from strop.loop.ranks import place

THRESHOLDS = ("nan_ratio", "inf_ratio", "gradient_variance")
ACTIVATIONS: Mapping[tuple[str, int | None], Literal["float16", "int8"]] = {
    ("fp16_lossy", None): "float16",
    ("bitpacking", 8): "int8",
}
"""Algorithm and bits → how activations are kept."""


def NumericStabilityMonitor(
    checkpoints: Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
    action: Literal["rollback", "halt"] = "rollback",
) -> _Monitor:
    """Return instruction 13.

    Args:
        checkpoints: modules to watch: part of their name or of their class's, such as ``layer_norm``.
        thresholds: ``nan_ratio`` and ``inf_ratio`` (shares), ``gradient_variance`` (absolute, so it depends on the scale of
            the loss; left out, variance is compared with what was usual).
        action: what happens.

    Raises:
        UsageError: a threshold or action is unknown, or makes no sense.
    """
    limits: dict[str, Any] = dict(thresholds or {})
    for name in limits:
        if name not in THRESHOLDS:
            raise UsageError(f"there is no threshold {name!r}.{did_you_mean(name, THRESHOLDS)}")
    if action not in ("rollback", "halt"):
        raise UsageError(f"action must be 'rollback' or 'halt', got {action!r}.")
    try:
        return _Monitor(checkpoints=tuple(checkpoints), action=action, **limits)
    except ValueError as error:
        raise UsageError(f"NumericStabilityMonitor: {error}.") from error


def MemoryCompressor(algorithms: Sequence[Mapping[str, Any]], threshold: float = 0.85) -> MemoryCompression:
    """Return instruction 16.

    Args:
        algorithms: of each scope at most one: ``{"name": "fp16_lossy", "scope": "activations"}``, ``{"name": "bitpacking",
            "scope": "activations", "bits": 8}`` or ``{"name": "bitpacking", "scope": "gradients", "bits": 4}`` (or 8). In a
            process that trains alone no gradient travels, so that the algorithm for gradients has nothing to do there.
        threshold: activations are packed in steps that begin with more of the memory in use (share).

    Raises:
        UsageError: an algorithm or scope is unknown, or a scope is given twice.
    """
    scopes: dict[str, Mapping[str, Any]] = {}
    for algorithm in algorithms:
        scope, name, bits = algorithm.get("scope"), algorithm.get("name"), algorithm.get("bits")
        known = (scope == "activations" and (name, bits) in ACTIVATIONS) or (
            scope == "gradients" and name == "bitpacking" and bits in (4, 8)
        )
        if not known:
            raise UsageError(
                f"{dict(algorithm)} is no algorithm known here; give fp16_lossy or bitpacking with bits=8 for scope "
                f"'activations', bitpacking with bits=4 or 8 for scope 'gradients'."
            )
        if scope in scopes:
            raise UsageError(f"two algorithms have the scope {scope!r}; give one.")
        scopes[str(scope)] = algorithm
    activations, gradients = scopes.get("activations"), scopes.get("gradients")
    try:
        return MemoryCompression(
            activations=ACTIVATIONS[activations["name"], activations.get("bits")] if activations else "none",
            gradient_bits=gradients["bits"] if gradients and place().world > 1 else None,
            threshold=threshold,
        )
    except ValueError as error:
        raise UsageError(f"MemoryCompressor: {error}.") from error


def distributed(
    backend: Literal["auto", "gloo", "nccl"] = "nccl",
    init_method: str = "env://",
    gpu_ids: Sequence[int] = (),
    find_unused_parameters: bool | None = None,
    gradient_predivide_factor: float = 1.0,
) -> DistributedDataParallel:
    """Return instruction 22, from what a configuration file says under ``distributed:``.

    Args:
        backend: who carries the gradients.
        init_method: where the processes meet.
        gpu_ids: one process is started for each: ``torchrun --nproc_per_node=…``.
        find_unused_parameters: look for parameters without gradient in each step; unset: where the first batch has such.
        gradient_predivide_factor: divides before the sum what else is divided after it; the average, and the bytes, are
            the same, so that nothing depends on it here.

    Raises:
        UsageError: another number of processes was started than there are ``gpu_ids``, or a setting makes no sense.
    """
    if gradient_predivide_factor <= 0:
        raise UsageError(f"gradient_predivide_factor must be positive, got {gradient_predivide_factor}.")
    if gpu_ids and len(gpu_ids) != place().world:
        raise UsageError(
            f"{len(gpu_ids)} gpu_ids are given, and {place().world} processes were started; one process drives one device. "
            f"Run: torchrun --nproc_per_node={len(gpu_ids)} …"
        )
    return DistributedDataParallel(backend=backend, init_method=init_method, find_unused_parameters=find_unused_parameters)
