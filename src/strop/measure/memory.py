"""Reading peak memory: of a whole process in fresh processes, of the framework's tensors inside one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strop.errors import MeasureError
from strop.measure.arm import Arm, ArmSpec
from strop.measure.clock import draw_inputs, uniform
from strop.units import Bytes, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakReading:
    """Peak resident memory of one fresh process, in bytes.

    Attributes:
        load: peak from the start until the first answer was out.
        steady: peak of the calls after that; it may be lower than ``load``, because loading often holds two copies.
        anonymous: resident at the end and not backed by a file.
        file: resident at the end and backed by a file (mapped weights, libraries): the kernel can take it back.
    """

    load: Bytes
    steady: Bytes
    anonymous: Bytes
    file: Bytes

    def to_json(self) -> dict[str, int]:
        """Return a JSON-able form."""
        return asdict(self)


def read_peak(
    spec: ArmSpec, *, seed: int, log: Path, points: Sequence[str] | None = None, calls: int = 8, timeout: Seconds = 600.0
) -> PeakReading:
    """Start the arm in a fresh process, load it, call every point, and read its peaks.

    The kernel keeps the peak itself (``VmHWM``), so that no short spike is missed, as polling would. It is the process's
    own: what the parent held is not inherited, unlike ``ru_maxrss``.

    Args:
        spec: the arm.
        seed: of this start.
        log: receives its output.
        points: operating points; default all.
        calls: calls at each point, over its inputs in drawn order.
        timeout: for loading, and again for each point.
    """
    with Arm.start(spec, seed=seed, log=log) as arm:
        arm.load(timeout)
        load = arm.peak_memory().peak
        arm.reset_peak()
        for point in points or arm.points:
            arm.block(point, draw_inputs(calls, arm.points[point], seed, "memory", point), timeout=timeout)
        now = arm.peak_memory()
    return PeakReading(load=load, steady=now.peak, anonymous=now.anonymous, file=now.file)


def read_peaks(
    baseline: ArmSpec,
    candidate: ArmSpec,
    *,
    seed: int,
    folder: Path,
    points: Sequence[str] | None = None,
    runs: int = 5,
    calls: int = 8,
    timeout: Seconds = 600.0,
) -> tuple[tuple[PeakReading, ...], tuple[PeakReading, ...]]:
    """Read ``runs`` fresh processes of each arm, one process at a time, in an order drawn from ``seed``.

    No other arm should be alive meanwhile: its pages do not count here, but memory pressure would.

    Returns:
        Readings of the baseline, readings of the candidate; :func:`strop.measure.peaks.process_peaks` judges them.
    """
    readings: dict[str, list[PeakReading]] = {baseline.name: [], candidate.name: []}
    if len(readings) < 2:
        raise MeasureError(f"both arms are called {baseline.name!r}; name one baseline and one candidate.")
    turns = [(spec, run) for run in range(runs) for spec in (baseline, candidate)]
    for spec, run in sorted(turns, key=lambda turn: uniform(seed, "memory", turn[0].name, turn[1])):
        own_seed = int(uniform(seed, "memory start", spec.name, run) * 2**53)
        log = folder / f"memory-{spec.name}-{run}.log"
        readings[spec.name].append(read_peak(spec, seed=own_seed, log=log, points=points, calls=calls, timeout=timeout))
    return tuple(readings[baseline.name]), tuple(readings[candidate.name])


def tensor_peak(call: Callable[[], object], device: str = "cpu") -> Bytes:
    """Return the most bytes of tensors that ``call`` held at once beyond what was held before it. Runs inside a target.

    On the CPU every allocation and release that the framework's profiler reports is added up in time order and the running
    maximum is taken: deterministic, to the byte. On CUDA the allocator counts by itself. Allocations of libraries that
    bypass the framework's allocator are not seen. The call is slowed down: never time it.

    Args:
        call: makes one call; call it once before, so that lazily made buffers do not count.
        device: where the tensors are, as torch writes it.
    """
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    held = peak = 0
    for change in _changes(call):
        held += change
        peak = max(peak, held)
    return peak


def tensor_held(call: Callable[[], object]) -> Bytes:
    """Return how many bytes of tensors more are held when ``call`` has returned; counted as for :func:`tensor_peak`, CPU only."""
    return sum(_changes(call))


def _changes(call: Callable[[], object]) -> list[Bytes]:
    """Return what the call allocated (positive), and what of that it gave back (negative), in time order.

    Blocks from before the call are left out by their address: for those the profiler has no size, or that of an earlier
    block which it saw come and not go.
    """
    import torch
    from torch._C._profiler import _EventType

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    results: Any = profiler.profiler
    events, found = list(results.kineto_results.experimental_event_tree()), list[tuple[int, int, int]]()
    while events:
        event = events.pop()
        events += event.children
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu":
            found.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    own, changes = set[int](), list[Bytes]()
    for _, address, change in sorted(found, key=lambda row: row[0]):
        if change > 0:
            own.add(address)
        if address in own:
            changes.append(change)
        if change < 0:
            own.discard(address)
    return changes
