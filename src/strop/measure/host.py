"""The machine: what it has, and how fast it is."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strop.measure.clock import usable_cpus
from strop.units import Bytes, Ratio

UNTOUCHED: Bytes = 2 << 30
"""Addresses that libraries reserve and never touch; without them even ``import torch`` would fail on a small machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine's measured profile.

    Attributes:
        cpu: model name, with family and model where the kernel numbers them: a virtual machine's name often tells no more than
            the maker, and a generation decides how fast 8-bit products are.
        cores: cores this process may use.
        isa: instruction-set flags, lower case, for instance ``{"avx2", "avx512f", "avx512_vnni"}``.
        l2_bytes: size of one level-2 cache.
        l3_bytes: size of the last-level cache.
        memory_bytes: memory this process may use (control-group limit included).
        accelerators: names of accelerators torch could use; empty on a CPU machine.
        roofs: measured limits, for instance ``{"gemm_float32": 1.7e11, "read": 4.3e10}`` in FLOP/s and bytes/s;
            empty = not measured.
    """

    cpu: str
    cores: int
    isa: frozenset[str] = frozenset()
    l2_bytes: int = 0
    l3_bytes: int = 0
    memory_bytes: int = 0
    accelerators: tuple[str, ...] = ()
    roofs: Mapping[str, float] = field(default_factory=dict)

    @property
    def address_limit(self) -> Bytes | None:
        """Bytes of address space a process of a trial may take, so that exhausting memory ends the trial and not the machine.

        ``None`` where nothing is known to bound by: CUDA reserves far more addresses than it takes memory.
        """
        return None if self.accelerators or not self.memory_bytes else self.memory_bytes + UNTOUCHED


def read_host(*, accelerators: bool = False, root: Path = Path("/")) -> Host:
    """Read what this machine has, without measuring anything.

    Args:
        accelerators: import torch and ask it for accelerators; otherwise none are listed.
        root: of the file system that ``proc`` and ``sys`` are read from.
    """
    fields = cpu_fields(root)
    caches = cache_sizes(root)
    flags = fields.get("flags", fields.get("Features", ""))
    return Host(
        cpu=cpu_name(fields),
        cores=usable_cores(root),
        isa=frozenset(flags.lower().split()),
        l2_bytes=caches.get(2, 0),
        l3_bytes=caches.get(3, caches.get(2, 0)),
        memory_bytes=usable_memory(root),
        accelerators=_accelerators() if accelerators else (),
    )


def cpu_fields(root: Path = Path("/")) -> dict[str, str]:
    """Return the kernel's description of the first processor."""
    text = system_text(root / "proc/cpuinfo").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def cpu_name(fields: Mapping[str, str]) -> str:
    """Return a processor's name from its kernel description, for instance ``"AMD EPYC (family 25, model 17)"``."""
    name = fields.get("model name") or platform.machine()
    numbered = "cpu family" in fields and "model" in fields
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if numbered else name


def cache_sizes(root: Path = Path("/")) -> dict[int, Bytes]:
    """Return cache level → bytes of one cache of that level as the first processor sees it, instruction caches left out."""
    sizes: dict[int, Bytes] = {}
    for folder in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size = system_text(folder / "size")
        if system_text(folder / "type") != "Instruction" and size:
            unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(size[-1], 1)
            sizes[int(system_text(folder / "level"))] = int(size.rstrip("KMG")) * unit
    return sizes


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores this process may keep busy: its affinity, and the processor quota of its control groups, rounded up."""
    quotas = []
    for folder in control_groups("cpu", root):
        limit, _, period = (system_text(folder / "cpu.max") or "max 1").partition(" ")
        quotas.append(math.inf if limit == "max" else int(limit) / int(period))
        old = system_text(folder / "cpu.cfs_quota_us")
        quotas.append(int(old) / int(system_text(folder / "cpu.cfs_period_us")) if old and int(old) > 0 else math.inf)
    quota = min(quotas, default=math.inf)
    cores = len(usable_cpus())
    return cores if quota == math.inf else max(1, min(cores, math.ceil(quota)))


def usable_memory(root: Path = Path("/")) -> Bytes:
    """Return bytes of memory this process may use: the machine's, and the limits of its control groups (both versions)."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in system_text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            limits = [int(line.split()[1]) * 1024]
    for folder in control_groups("memory", root):
        found = [system_text(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        limits += [int(text) for text in found if text.isdigit()]
    return min(limits)


def free_memory(root: Path = Path("/")) -> Ratio:
    """Return the share of the memory this process may use that is still free, control groups included; 1 where unknown."""
    free: list[Ratio] = []
    rows = dict(line.split(":", 1) for line in system_text(root / "proc/meminfo").splitlines() if ":" in line)
    if "MemAvailable" in rows and "MemTotal" in rows:
        free.append(int(rows["MemAvailable"].split()[0]) / max(1, int(rows["MemTotal"].split()[0])))
    for folder in control_groups("memory", root):
        stat = dict(line.split(" ", 1) for line in system_text(folder / "memory.stat").splitlines() if " " in line)
        cached = int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))  # given back when it is asked for
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, taken = system_text(folder / limit), system_text(folder / used)
            if most.isdigit() and taken.isdigit() and int(most):
                free.append(1 - (int(taken) - cached) / int(most))
    return max(0.0, min(free, default=1.0))


def control_groups(controller: str, root: Path = Path("/")) -> list[Path]:
    """Return the folders of this process's control groups for ``controller``, innermost first, up to the root of each tree.

    Limits of every level hold, so all of them are listed; folders that cannot be seen from here are left out.
    """
    folders: list[Path] = []
    for line in system_text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            tops = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            tops = [root / "sys/fs/cgroup" / name for name in {controller, controllers}]
        else:
            continue
        for top in tops:
            inner = top / path.lstrip("/")
            folders += [place for place in (inner, *inner.parents) if place.is_relative_to(top) and place.is_dir()]
    return folders


def _accelerators() -> tuple[str, ...]:
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return tuple(names)


def system_text(path: Path) -> str:
    """Return a small system file without its final newline, ``""`` where this system does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
