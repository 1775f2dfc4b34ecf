"""The parent's handle of one arm."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from strop.errors import MeasureError, TargetError, WorkerDiedError, WorkerTimeoutError
from strop.measure.clock import usable_cpus
from strop.measure.counters import difference, snapshot
from strop.measure.process import ArmProcess, describe_end
from strop.measure.result import Block
from strop.measure.timing import WarmReport, WarmRule
from strop.measure.wire import Channel, DeadlinePassed, PeerGone
from strop.units import Bytes, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """How to start an arm.

    Attributes:
        name: ``"baseline"`` or ``"candidate"``; blocks carry it.
        target: the target's factory, ``"package.module:function"``, called with ``arguments`` as its one argument.
        arguments: JSON-able.
        environment: variables the process starts with, on top of the parent's.
        memory_limit: bytes of address space the process may take (``RLIMIT_AS``), or ``None``.
    """

    name: str
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_limit: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """Resident memory of an arm's process in bytes; ``file`` pages are backed by files and can be reclaimed."""

    peak: Bytes
    resident: Bytes
    anonymous: Bytes
    file: Bytes
    shared: Bytes


class Arm:
    """One process that holds a target. Requests to a parked arm let it run for as long as the request takes.

    Every request may raise :class:`TargetError` (the target raised; the arm lives on), :class:`WorkerDiedError` or
    :class:`WorkerTimeoutError` (the arm is gone, with all its descendants).
    """

    def __init__(self, spec: ArmSpec, process: ArmProcess) -> None:
        self.spec, self._process = spec, process
        self._channel = Channel(process.read_fd, process.write_fd, lambda: process.alive)
        self._cpus = usable_cpus()
        self._ended = ""
        self.points: dict[str, int] = {}
        self.offers: frozenset[str] = frozenset()

    @classmethod
    def start(cls, spec: ArmSpec, *, seed: int, log: Path) -> Arm:
        """Start the process; give every start its own ``seed``. Use the arm in a ``with`` statement, or close it."""
        return cls(spec, ArmProcess(spec.environment, spec.memory_limit, seed, log))

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """Number of the worker's process and of its group."""
        return self._process.pid

    def load(self, timeout: Seconds = 600.0) -> dict[str, Seconds]:
        """Build the target and make the first call; fills ``points`` and ``offers`` (optional abilities of the target).

        Returns:
            Seconds from the spawn of the process to each mark: ``interpreter_up``, ``imported``, ``loaded``, ``first_output``.
        """
        arguments = {"target": self.spec.target, "arguments": dict(self.spec.arguments)}
        answer = self._ask("load", arguments, timeout)
        self.points, self.offers = dict(answer["points"]), frozenset(answer["offers"])
        return {mark: (at - self._process.spawned_ns) / 1e9 for mark, at in answer["marks"].items()}

    def warm(
        self, points: Sequence[str] | None = None, *, rule: WarmRule | None = None, timeout: Seconds = 600.0
    ) -> dict[str, WarmReport]:
        """Call each point until it is steady; an unsteady one is reported as such and may be measured all the same."""
        chosen, limits = list(points or self.points), asdict(rule or WarmRule())
        answer = self._ask("warm", {"points": chosen, "rule": limits}, timeout)
        return {point: WarmReport(**row) for point, row in answer.items()}

    def block(self, point: str, inputs: Sequence[int], discards: int = 0, *, timeout: Seconds = 120.0) -> Block:
        """Visit ``point``: one call per entry of ``inputs``, of which the first ``discards`` are not reported."""
        with self.turn():
            before = snapshot(self.pid, self._cpus)
            answer = self._ask("block", {"point": point, "inputs": list(inputs), "discards": discards}, timeout)
            after = snapshot(self.pid, self._cpus)
        counters = difference(before, after, len(self._cpus), answer["switches"])
        return Block(arm=self.name, point=point, calls_ns=tuple(answer["calls_ns"]), counters=counters)

    def variants(self, point: str, index: int, variants: Sequence[int], *, timeout: Seconds = 120.0) -> list[int]:
        """Time one call on each never-seen variant of an input (needs the ability ``run_variant``); nanoseconds."""
        return list(self._ask("variants", {"point": point, "index": index, "variants": list(variants)}, timeout))

    def digest(self, point: str, index: int, *, timeout: Seconds = 120.0) -> str:
        """Return the digest of the answer to one input."""
        return str(self._ask("digest", {"point": point, "index": index}, timeout))

    def answer_digest(self, *, timeout: Seconds = 120.0) -> str:
        """Return the digest of the answer that the latest call left behind (needs the ability ``answer_digest``)."""
        return str(self._ask("answer_digest", {}, timeout))

    def shapes(self, point: str, index: int, *, timeout: Seconds = 120.0) -> Any:
        """Return shapes and dtypes of the answer to one input."""
        return self._ask("shapes", {"point": point, "index": index}, timeout)

    def call(self, method: str, arguments: Mapping[str, Any] | None = None, timeout: Seconds = 600.0) -> Any:
        """Ask the target for anything else by name."""
        return self._ask("call", {"method": method, "arguments": dict(arguments or {})}, timeout)

    def stats(self, *, timeout: Seconds = 60.0) -> dict[str, Any]:
        """Return processor seconds, involuntary switches and threads of the worker since it started."""
        return dict(self._ask("stats", {}, timeout))

    @property
    def ended(self) -> bool:
        """Whether its process is gone, as far as its last request told."""
        return bool(self._ended)

    @property
    def parked(self) -> bool:
        """Whether the whole process group is stopped."""
        return self._process.stopped

    def park(self) -> None:
        """Stop the whole process group, so that nothing in it can spin, prefetch or collect garbage."""
        self._process.stop()

    def resume(self) -> None:
        """Let the process group go on."""
        self._process.resume()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let a parked arm run inside the ``with`` statement, and park it again; an arm that runs is left running."""
        was_parked = self.parked
        self.resume()
        try:
            yield
        finally:
            if was_parked and not self._ended:
                self.park()

    def peak_memory(self) -> MemoryReading:
        """Read resident memory and its peak since the start or the last :meth:`reset_peak` (the kernel's ``VmHWM``)."""
        try:
            text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            raise WorkerDiedError(f"arm {self.name!r} is gone; its memory cannot be read") from error
        rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if "VmHWM" not in rows:
            raise WorkerDiedError(f"arm {self.name!r} has ended; its memory cannot be read")
        peak, resident, anonymous, file, shared = (
            int(rows[key].split()[0]) * 1024 for key in ("VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem")
        )
        return MemoryReading(peak=peak, resident=resident, anonymous=anonymous, file=file, shared=shared)

    def reset_peak(self) -> None:
        """Set the peak of :meth:`peak_memory` back to what is resident now."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        except OSError as error:
            raise MeasureError(f"the memory peak of arm {self.name!r} cannot be reset on this system: {error}") from error

    def close(self) -> None:
        """Ask the target to close, end the process group and reap it. May be called again."""
        if not self._ended:
            self.resume()
            try:
                self._ask("exit", {}, 2.0)
                self._process.end(patience=2.0)
            except (WorkerDiedError, WorkerTimeoutError, TargetError):
                pass  # it is on its way out; what matters here is that nothing stays behind
        self._leave("was closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._leave("was closed")
        self.close()

    def _ask(self, request: str, arguments: Mapping[str, Any], timeout: Seconds) -> Any:
        try:
            return self._answer(request, arguments, timeout)
        except MeasureError as error:
            error.arm = self.name
            raise

    def _answer(self, request: str, arguments: Mapping[str, Any], timeout: Seconds) -> Any:
        if self._ended:
            raise WorkerDiedError(f"arm {self.name!r} {self._ended}; start a new one.")
        deadline = time.monotonic() + timeout
        with self.turn():
            try:
                self._channel.send({"request": request, "arguments": arguments}, deadline)
                answer = self._channel.receive(deadline)
            except PeerGone:
                self._leave(describe_end(self._process.end(patience=1.0)))
                raise WorkerDiedError(f"arm {self.name!r} {self._ended} during {request!r}.{self._words()}") from None
            except DeadlinePassed:
                self._leave(f"was killed: it did not answer within {timeout:g} s")
                raise WorkerTimeoutError(f"arm {self.name!r} {self._ended} during {request!r}.{self._words()}") from None
            except BaseException:
                self._leave("was closed: its request was interrupted")
                raise
        if "error" in answer:
            error = answer["error"]
            raise TargetError(f"arm {self.name!r}, {request}", error["type"], error["message"], error["trace"])
        return answer["ok"]

    def _leave(self, how: str) -> None:
        self._ended = self._ended or how
        self._process.end()
        self._channel.close()

    def _words(self) -> str:
        words = self._process.last_words()
        return f" The last lines of its log:\n{words}" if words else " Its log is empty."
