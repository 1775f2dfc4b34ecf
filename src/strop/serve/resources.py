"""What the serving process uses of its machine, read when somebody asks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from strop.measure.host import control_groups, system_text, usable_memory
from strop.units import Bytes, Ratio, Seconds

GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and the field of ``memory.stat`` with cached pages that can be given back: control groups version 2 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """One reading.

    Attributes:
        total: bytes of memory this process may use.
        free: bytes of it that are left.
        resident: bytes this process holds.
        cpu: seconds of processor time this process has used.
        threads: of this process.
        descriptors: files and sockets it holds open.
        descriptors_allowed: most it may hold open.
        started: when it began, in seconds since 1970.
    """

    total: Bytes
    free: Bytes
    resident: Bytes
    cpu: Seconds
    threads: int
    descriptors: int
    descriptors_allowed: int
    started: Seconds

    @property
    def headroom(self) -> Ratio:
        """Share of the memory that is left."""
        return self.free / self.total


def read_resources() -> Resources:
    """Read what this process uses; takes some tenths of a millisecond."""
    process = psutil.Process()
    with process.oneshot():
        used = process.cpu_times()
        return Resources(
            total=usable_memory(),
            free=free_memory(),
            resident=process.memory_info().rss,
            cpu=used.user + used.system,
            threads=process.num_threads(),
            descriptors=process.num_fds(),
            descriptors_allowed=process.rlimit(psutil.RLIMIT_NOFILE)[0],
            started=min(process.create_time(), time.time()),
        )


def free_memory(root: Path = Path("/")) -> Bytes:
    """Return bytes that this process can still get: the machine's, or less where a control group allows less."""
    lines = dict(line.split(":", 1) for line in system_text(root / "proc/meminfo").splitlines())
    left = [int(lines["MemAvailable"].split()[0]) * 1024]
    for folder in control_groups("memory", root):
        for limit, use, cached in GROUP_FILES:
            allowed, used = system_text(folder / limit), system_text(folder / use)
            if allowed.isdigit() and used.isdigit():
                fields = dict(line.split() for line in system_text(folder / "memory.stat").splitlines())
                left.append(int(allowed) - int(used) + int(fields.get(cached, 0)))
    return max(0, min(left))
