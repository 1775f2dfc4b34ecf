"""The process of one arm: ``python -m strop.measure.worker``. Builds a target by name and answers requests about it.

It imports nothing heavy before the target does, prints nothing, and answers over two pipes of its own, so that the target
may print as it likes. Requests and replies are described by the methods of :class:`Worker`.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strop.measure.orphan import die_with
from strop.measure.target import Target
from strop.measure.timing import WarmRule, synchronizer, time_calls, time_variants, warm
from strop.measure.wire import receive_frame, send_frame


class Worker:
    """Answers the requests of the parent; one method ``on_<request>`` each, arguments and answer are JSON."""

    def __init__(self, interpreter_up_ns: int) -> None:
        self._marks = {"interpreter_up": interpreter_up_ns}
        self._target: Target | None = None

    @property
    def target(self) -> Target:
        """The target; a request that comes before ``load`` is an error of the parent."""
        if self._target is None:
            raise RuntimeError("no target is loaded yet")
        return self._target

    def on_load(self, target: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Import and build the target, make the first call; answer its points and the marks on the way, in nanoseconds."""
        module, _, function = target.partition(":")
        factory = getattr(importlib.import_module(module), function)
        self._marks["imported"] = time.monotonic_ns()
        self._target = built = factory(arguments)
        self._marks["loaded"] = time.monotonic_ns()
        points = dict(built.points)
        if not points or any(not isinstance(count, int) or count < 1 for count in points.values()):
            raise ValueError(f"a target needs operating points with at least one input each; {target} offers {points}")
        built.run(next(iter(points)), 0)
        synchronizer(built)()
        self._marks["first_output"] = time.monotonic_ns()
        offers = [name for name in ("answer_digest", "run_variant") if hasattr(built, name)]
        return {"points": points, "marks": self._marks, "offers": offers}

    def on_warm(self, points: Sequence[str], rule: Mapping[str, Any]) -> dict[str, Any]:
        """Warm the points one after another; answer a report for each."""
        limits, share = WarmRule(**rule), 1.0 / len(points)
        reports = {point: warm(self.target, point, limits, share).to_json() for point in points}
        gc.collect()
        gc.freeze()
        return reports

    def on_block(self, point: str, inputs: Sequence[int], discards: int) -> dict[str, Any]:
        """Make one call per input; answer the nanoseconds of all but the first ``discards``, and how often the core was lost."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        calls = time_calls(self.target, point, inputs, discards)
        return {"calls_ns": calls, "switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before}

    def on_variants(self, point: str, index: int, variants: Sequence[int]) -> list[int]:
        """Time one call on each never-seen variant of an input; answer nanoseconds."""
        return time_variants(self.target, point, index, variants)

    def on_digest(self, point: str, index: int) -> str:
        """Answer the digest of the answer to one input."""
        return self.target.digest(point, index)

    def on_answer_digest(self) -> str:
        """Answer the digest of the latest answer, as a timed call left it."""
        latest: str = self.target.answer_digest()  # type: ignore[attr-defined]  # an optional ability, announced by load
        return latest

    def on_shapes(self, point: str, index: int) -> Any:
        """Answer shapes and dtypes of the answer to one input."""
        return self.target.shapes(point, index)

    def on_call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Pass anything else on to the target."""
        return self.target.call(method, arguments)

    def on_stats(self) -> dict[str, Any]:
        """Answer the worker's own view of its use of the machine since it started."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"cpu_seconds": usage.ru_utime + usage.ru_stime, "switches": usage.ru_nivcsw, "threads": _threads()}

    def on_exit(self) -> None:
        """Close the target; the process ends after the answer."""
        if self._target is not None:
            self._target.close()


def main(arguments: Sequence[str]) -> int:
    """Serve requests until told to exit or until the parent is gone.

    Args:
        arguments: four numbers: the descriptors to read from and to write to, the limit of the address space in bytes
            (0 = none), and the parent whose death is this process's death (0 = nobody's).
    """
    up = time.monotonic_ns()
    read_fd, write_fd, memory_limit, parent = map(int, arguments)
    faulthandler.enable()
    for fd in (read_fd, write_fd):
        os.set_inheritable(fd, False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was printed must survive a crash
    if parent:
        die_with(parent)
    if memory_limit:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    return serve(Worker(up), read_fd, write_fd)


def serve(worker: Worker, read_fd: int, write_fd: int) -> int:
    """Answer requests one by one; an error inside the target is an answer too."""
    while (frame := receive_frame(read_fd)) is not None:
        request = json.loads(frame)
        name, arguments = request["request"], request["arguments"]
        try:
            reply = {"ok": getattr(worker, f"on_{name}")(**arguments)}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent decides what an error means
            reply = {"error": {"type": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}}
        try:
            frame = json.dumps(reply).encode()
        except (TypeError, ValueError) as error:
            frame = json.dumps({"error": {"type": type(error).__name__, "message": f"{name}: {error}", "trace": ""}}).encode()
        send_frame(write_fd, frame)
        if name == "exit":
            break
    return 0


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
