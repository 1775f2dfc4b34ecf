"""What the system says about a visit, blind to the timing: whose processor time was it, what was paged in."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strop.measure.clock import processor_ns
from strop.measure.result import Counters

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq of a cpu line; idle and iowait are left out
_STEAL = 7


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The system's counters at one moment.

    Attributes:
        at_ns: the monotonic clock.
        own_ns: process → processor time, for the members of the watched group.
        foreign_ns: process → processor time, for every other visible process.
        reaped_ns: processor time of descendants of the group that have ended.
        busy_ns: processor time of everything on the watched processors, counted in ticks; covers what other containers do.
        steal_ns: time the hypervisor gave to others.
        major_faults: page faults of the group that read from disk.
    """

    at_ns: int
    own_ns: Mapping[int, int]
    foreign_ns: Mapping[int, int]
    reaped_ns: int
    busy_ns: int
    steal_ns: int
    major_faults: int


def group_members(group: int) -> tuple[int, ...]:
    """Return the processes of a process group, zombies included."""
    return tuple(pid for pid in _processes() if _group_of(pid) == group)


def process_state(pid: int) -> str:
    """Return the kernel's letter for the state of a process (``R S D T Z``), or ``""`` when it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def process_faults(pid: int) -> int:
    """Return how many pages a process had to read from disk so far; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[9]) if fields else 0


def snapshot(group: int, cpus: frozenset[int]) -> Snapshot:
    """Read the counters of process group ``group`` and of the processors ``cpus``."""
    own, foreign, reaped, faults = {}, {}, 0, 0
    for pid in _processes():
        try:
            used = processor_ns(pid)
        except ProcessLookupError:
            continue
        if _group_of(pid) != group:
            foreign[pid] = used
            continue
        own[pid] = used
        fields = _stat(pid)
        if fields:  # after the name: 9 majflt, 10 cmajflt, 13 cutime, 14 cstime
            faults += int(fields[9]) + int(fields[10])
            reaped += (int(fields[13]) + int(fields[14])) * _TICK_NS
    busy, steal = _processor_ticks(cpus)
    return Snapshot(time.monotonic_ns(), own, foreign, reaped, busy * _TICK_NS, steal * _TICK_NS, faults)


def difference(before: Snapshot, after: Snapshot, cores: int, involuntary_switches: int) -> Counters:
    """Return what happened between two snapshots.

    Foreign time is the larger of two views. Visible processes are summed by their own exact clocks. The tick counts of the
    processors also see other containers but are coarse, so one tick per core is granted to rounding before they count.
    """
    own = _grown(before.own_ns, after.own_ns) + after.reaped_ns - before.reaped_ns
    visible = _grown(before.foreign_ns, after.foreign_ns)
    hidden = after.busy_ns - before.busy_ns - own - cores * _TICK_NS
    return Counters(
        wall_ns=after.at_ns - before.at_ns,
        own_cpu_ns=own,
        foreign_cpu_ns=max(visible, hidden, 0),
        steal_ns=max(after.steal_ns - before.steal_ns, 0),
        major_faults=max(after.major_faults - before.major_faults, 0),
        involuntary_switches=involuntary_switches,
    )


def _grown(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    return sum(used - before.get(pid, 0) for pid, used in after.items())


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - read in every visit; no objects


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _processor_ticks(cpus: frozenset[int]) -> tuple[int, int]:
    busy = steal = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            busy += sum(int(fields[place]) for place in _BUSY)
            steal += int(fields[_STEAL])
    return busy, steal
