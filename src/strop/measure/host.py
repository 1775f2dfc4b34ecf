"""The machine: what it has, and how fast it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine's measured profile.

    Attributes:
        cpu: model name.
        cores: cores this process may use.
        isa: instruction-set flags, lower case, for instance ``{"avx2", "avx512f", "avx512_vnni"}``.
        l2_bytes: size of one level-2 cache.
        l3_bytes: size of the last-level cache.
        memory_bytes: memory this process may use (control-group limit included).
        accelerators: names of accelerators torch could use; empty on a CPU machine.
        roofs: measured limits, for instance ``{"gemm_float32": 1.7e11, "read": 4.3e10}`` in FLOP/s and bytes/s; empty = not measured.
    """

    cpu: str
    cores: int
    isa: frozenset[str] = frozenset()
    l2_bytes: int = 0
    l3_bytes: int = 0
    memory_bytes: int = 0
    accelerators: tuple[str, ...] = ()
    roofs: Mapping[str, float] = field(default_factory=dict)
