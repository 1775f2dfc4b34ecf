"""The roofs of this machine: how fast it multiplies matrices and moves memory, through the library that models use.

Roofs are a target like any other, so that they can be measured as arms beside a model, under the same clocks and the same
load (Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model"). Data-sheet peaks are
never used.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strop.errors import TargetError
from strop.measure.arm import Arm, ArmSpec
from strop.measure.host import cache_sizes, usable_memory
from strop.units import Bytes, Seconds

SIZES = (512, 1024, 2048)
"""Sides of the square matrices; a roof is the best over them. Few cores do best on the small ones, many on the large."""
AGAIN = 3
"""Further looks at the best size."""
DTYPES = ("float32", "bfloat16", "int8")
"""Element types of the matrix products; int8 accumulates in int32."""
_FALLBACK_CACHE = 32 << 20
_MIN_BYTES, _MAX_SHARE = 64 << 20, 8


def work(point: str) -> float:
    """Return what one call at ``point`` does: floating-point (or integer) operations of a product, bytes of a memory kernel.

    ``2 n³`` for a product of side ``n``; for ``read`` the bytes read; for ``copy`` the bytes read and written. A copy that
    first fetches the lines it overwrites moves half as much again, which this convention (STREAM's) does not count.
    """
    kind, _, size = point.rpartition("_")
    if kind.startswith("gemm_"):
        return 2.0 * int(size) ** 3
    return float(size) * (2 if kind == "copy" else 1)


class RoofTarget:
    """Matrix products at points ``gemm_<dtype>_<n>`` and memory kernels at ``read_<bytes>`` and ``copy_<bytes>``.

    Args:
        points: which of them; each has one input.
        threads: cores to use; 0 leaves the framework's own choice.
        device: where the kernels run.
    """

    def __init__(self, points: Iterable[str], threads: int = 0, device: str = "cpu") -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._torch: Any = torch
        self._device = device
        self.points: dict[str, int] = dict.fromkeys(points, 1)
        self._kernels: dict[str, Callable[[], Any]] = {}
        self._answer: Any = None

    def run(self, point: str, index: int) -> None:
        """Run the kernel once; its arrays are made at the first call."""
        kernel = self._kernels.get(point)
        if kernel is None:
            kernel = self._kernels[point] = self._kernel(point)
        with self._torch.inference_mode():
            self._answer = kernel()

    def synchronize(self) -> None:
        """Wait for an accelerator; nothing to do on a CPU."""
        if self._device != "cpu":
            self._torch.cuda.synchronize()

    def digest(self, point: str, index: int) -> str:
        """Run the kernel and return a digest of its result."""
        self.run(point, index)
        return hashlib.sha256(self._answer.float().cpu().numpy().tobytes()).hexdigest()

    def shapes(self, point: str, index: int) -> list[list[int]]:
        """Run the kernel and return the shape of its result."""
        self.run(point, index)
        return [list(self._answer.shape)]

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Offer nothing."""
        raise ValueError(f"a roof has no method {method!r}")

    def close(self) -> None:
        """Give the memory back."""
        self._kernels.clear()

    def _kernel(self, point: str) -> Callable[[], Any]:
        torch, (kind, _, size) = self._torch, point.rpartition("_")
        if kind.startswith("gemm_"):
            n, dtype = int(size), getattr(torch, kind.removeprefix("gemm_"))
            if dtype is torch.int8:
                left = torch.randint(-128, 127, (n, n), dtype=dtype, device=self._device)
                return lambda: torch._int_mm(left, left)
            left = torch.randn(n, n, device=self._device).to(dtype)
            return lambda: left @ left
        source = torch.ones(int(size) // 4, dtype=torch.float32, device=self._device)
        if kind == "read":
            return lambda: source.sum()
        if kind == "copy":
            sink = torch.empty_like(source)
            return lambda: sink.copy_(source)
        raise ValueError(f"unknown roof {point!r}; roofs are gemm_<dtype>_<n>, read_<bytes> and copy_<bytes>")


def roof_target(arguments: Mapping[str, Any]) -> RoofTarget:
    """Build a :class:`RoofTarget` from ``points``, and optionally ``threads`` and ``device``."""
    return RoofTarget(**arguments)


def roof_spec(points: Iterable[str], *, threads: int = 0, name: str = "roof") -> ArmSpec:
    """Describe an arm that runs roofs, to be measured beside a model."""
    arguments = {"points": list(points), "threads": threads}
    return ArmSpec(name=name, target="strop.measure.roofline:roof_target", arguments=arguments)


def streaming_bytes() -> Bytes:
    """Return the size of an array that does not fit into the caches: four times the last level, within the memory allowed."""
    sizes = cache_sizes()
    wanted = 4 * max(sizes.values(), default=_FALLBACK_CACHE)
    return max(_MIN_BYTES, min(wanted, usable_memory() // _MAX_SHARE))


def measure_roofs(
    *, seed: int, folder: Path, seconds: Seconds = 2.0, dtypes: Iterable[str] = DTYPES, threads: int = 0, also_read: Bytes = 0
) -> dict[str, float]:
    """Measure roofs in a process of their own.

    Args:
        seed: of the process.
        folder: receives the log.
        seconds: of kernel time over all roofs together; loading the framework comes on top.
        dtypes: element types of the products. One that this build cannot multiply is left out of the answer.
        threads: cores to use; 0 leaves the framework's own choice.
        also_read: a further array size for reading, for instance a model's weights: a small model lives in a cache and
            would exceed the roof of main memory.

    Returns:
        ``gemm_<dtype>`` in operations per second (best size), ``read`` and ``copy`` in bytes per second, and
        ``read_<also_read>``; each from its fastest call.
    """
    stream = streaming_bytes()
    families = {f"gemm_{dtype}": [f"gemm_{dtype}_{n}" for n in SIZES] for dtype in dtypes}
    families |= {kind: [f"{kind}_{stream}"] for kind in ("read", "copy")}
    if also_read:
        families[f"read_{also_read}"] = [f"read_{also_read}"]
    everything = [point for points in families.values() for point in points]
    with Arm.start(roof_spec(everything, threads=threads), seed=seed, log=folder / "roofs.log") as arm:
        arm.load()
        return _best(arm, families, seconds)


def _best(arm: Arm, families: Mapping[str, Sequence[str]], seconds: Seconds) -> dict[str, float]:
    """Look at every point once and then, with the other half of the time, again at the best of each family.

    The looks are spread over the whole time, so that a short disturbance cannot lower a roof for good.
    """
    rates: dict[str, dict[str, float]] = {}
    for family, points in families.items():
        try:
            rates[family] = {point: _rate(arm, point, seconds / 2 / len(families) / len(points)) for point in points}
        except TargetError as error:
            if not family.startswith("gemm_") or error.kind not in ("RuntimeError", "NotImplementedError"):
                raise
    for _ in range(AGAIN):
        for seen in rates.values():
            point = max(seen, key=lambda name: seen[name])
            seen[point] = max(seen[point], _rate(arm, point, seconds / 2 / AGAIN / len(rates)))
    return {family: max(seen.values()) for family, seen in rates.items()}


def _rate(arm: Arm, point: str, seconds: Seconds) -> float:
    """Return work per second at ``point``: the fastest call of blocks of growing length, until the time is used.

    A roof says what the machine can do; what slows a call down, other work included, is no part of it.
    """
    end, calls = time.monotonic() + seconds, 1
    taken = arm.block(point, [0] * (calls + 1), 1).calls_ns
    while time.monotonic() < end and calls < 1000:
        left = end - time.monotonic()
        calls = max(1, min(2 * calls, int(left / (min(taken) / 1e9))))
        taken += arm.block(point, [0] * calls).calls_ns
    return work(point) / (min(taken) / 1e9)
