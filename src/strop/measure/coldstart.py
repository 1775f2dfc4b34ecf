"""Cold start: from the spawn of a fresh process to its first answer, in coin-ordered pairs of processes."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from strop.errors import MeasureError
from strop.measure.arm import Arm, ArmSpec
from strop.measure.clock import uniform
from strop.measure.coin import coin
from strop.measure.counters import process_faults
from strop.measure.result import Block, Counters, Pair
from strop.units import Bytes, Seconds

POINT = "cold start"
"""Name under which the blocks of a cold start are filed; a block holds one call: spawn to first answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of an arm.

    Attributes:
        marks: seconds from spawn to ``interpreter_up``, ``imported``, ``loaded`` and ``first_output``.
        answer: digest of the answer to the first input, so that a fast wrong start is found.
        major_faults: pages that had to be read from disk until the first answer; 0 when all files were cached.
    """

    marks: Mapping[str, Seconds]
    answer: str
    major_faults: int

    @property
    def seconds(self) -> Seconds:
        """From spawn to first answer."""
        return self.marks["first_output"]


def start_once(spec: ArmSpec, *, seed: int, log: Path, timeout: Seconds = 600.0) -> Start:
    """Start the arm in a fresh process, note its marks, and end it."""
    with Arm.start(spec, seed=seed, log=log) as arm:
        marks = arm.load(timeout)
        faults = process_faults(arm.pid)
        answer = arm.digest(next(iter(arm.points)), 0, timeout=timeout)
    return Start(marks=marks, answer=answer, major_faults=faults)


def take_start_pair(
    baseline: ArmSpec,
    candidate: ArmSpec,
    *,
    seed: int,
    comparison: str,
    index: int,
    folder: Path,
    cold_files: Mapping[str, Iterable[Path]] | None = None,
    timeout: Seconds = 600.0,
) -> tuple[Pair, dict[str, Start]]:
    """Start both arms once, one after the other, in the order of the pair's coin.

    Files are warm unless ``cold_files`` is given. Before the first pair with warm files start each arm once and forget it: a
    first start writes byte code and fills caches. No other arm should be alive.

    Args:
        baseline: an arm.
        candidate: the other.
        seed: of the run.
        comparison: name of the comparison.
        index: number of the pair.
        folder: receives the logs.
        cold_files: arm name → files and folders that are evicted from the page cache before it starts.
        timeout: per start.

    Returns:
        The pair, at operating point :data:`POINT`, and arm name → its start.
    """
    heads = coin(seed, comparison, index)
    starts: dict[str, Start] = {}
    for spec in (candidate, baseline) if heads else (baseline, candidate):
        if cold_files is not None:
            evict(cold_files.get(spec.name, ()))
        own_seed = int(uniform(seed, comparison, index, "start", spec.name) * 2**53)
        log = folder / f"start-{spec.name}-{index:03d}.log"
        starts[spec.name] = start_once(spec, seed=own_seed, log=log, timeout=timeout)
    blocks = tuple(
        Block(
            arm=name,
            point=POINT,
            calls_ns=(round(start.seconds * 1e9),),
            counters=Counters(wall_ns=round(start.seconds * 1e9), major_faults=start.major_faults),
        )
        for name, start in starts.items()
    )
    return Pair(index=index, round=index, candidate_first=heads, blocks=blocks), starts


def evict(paths: Iterable[Path]) -> Bytes:
    """Ask the kernel to drop files (and everything below folders) from the page cache; return the bytes that stayed.

    Advisory, and needs no rights: pages that another process has mapped stay.

    Raises:
        MeasureError: a path does not exist.
    """
    stayed = 0
    for file in _files(paths):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        stayed += resident_bytes(file)
    return stayed


def resident_bytes(file: Path) -> Bytes:
    """Return how much of a file is in the page cache (``mincore``)."""
    size = file.stat().st_size
    if size == 0:
        return 0
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as view:
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        flags = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(view)
        failed = ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), flags)
        del start
        if failed:
            raise MeasureError(f"the kernel does not tell what of {file.name} is cached: {os.strerror(ctypes.get_errno())}")
    return min(size, sum(flag & 1 for flag in flags) * mmap.PAGESIZE)


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.exists():
            raise MeasureError(f"{path} cannot be evicted from the page cache: there is no such file or folder.")
        yield from (p for p in sorted(path.rglob("*")) if p.is_file() and not p.is_symlink()) if path.is_dir() else [path]
