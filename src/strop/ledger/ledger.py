"""One run directory, open for writing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from strop.errors import LedgerError, RunDirectoryError
from strop.ledger.files import SEALED, read_json, sha256, write_atomic, write_json
from strop.measure.result import Pair

FORMAT = 1

WRITTEN = SEALED | {"events.jsonl", "logs", "materials", "answers", "artefacts", "report.html", "digests.json"}
"""Names that a run uses in its directory."""


class Ledger:
    """The record of one run.

    ::

        plan.json               what was asked; written before anything runs
        env.json, host.json     the machine
        steps/NNNN-<key>.json   one file per finished step, in order: {key, seconds, elapsed, result}
        samples/<name>.jsonl    raw pairs; the step that judged them holds the file's digest
        scores/<name>.json      per-example scores; likewise
        events.jsonl            what was told while running
        logs/                   output of the trial processes
        report.json, report.html, recipe.yaml, bundle/

    A step that is on disk is never computed again, which is all that ``--resume`` needs.
    """

    def __init__(self, folder: Path, lock: int, elapsed: float) -> None:
        self.folder = folder
        self._lock = lock
        self._steps = {step["key"]: step for step in read_steps(folder)}
        self._before = elapsed
        self._taken = 0.0
        self._start = time.monotonic()

    @classmethod
    def create(cls, folder: Path, plan: Mapping[str, Any]) -> Ledger:
        """Start a new run.

        Args:
            folder: must not exist yet, or be empty; a run that ended before its first step is begun anew in its place.
            plan: what was asked; JSON-able.

        Raises:
            RunDirectoryError: the folder holds something, or another run is writing there.
        """
        lock = _acquire(folder)
        with _released_on_error(lock):
            _make_room(folder)
            write_json(folder / "plan.json", {"format": FORMAT, **plan})
            return cls(folder, lock, 0.0)

    @classmethod
    def resume(cls, folder: Path) -> Ledger:
        """Go on with an interrupted run.

        Raises:
            RunDirectoryError: there is no run, or it is still being written.
            LedgerError: its record is damaged.
        """
        if not (folder / "plan.json").exists():
            raise RunDirectoryError(f"{folder} does not hold a run to resume; start it without --resume.")
        lock = _acquire(folder)
        with _released_on_error(lock):
            steps = read_steps(folder)
            return cls(folder, lock, steps[-1]["elapsed"] if steps else 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let another run have the directory."""
        os.close(self._lock)

    @property
    def plan(self) -> dict[str, Any]:
        """What was asked."""
        plan: dict[str, Any] = read_json(self.folder / "plan.json")
        return plan

    @property
    def elapsed(self) -> float:
        """Seconds spent on this run, interrupted sittings included."""
        return self._before + time.monotonic() - self._start

    def count(self, seconds: float) -> None:
        """Count time that was spent on this run before its directory was opened."""
        self._before += seconds

    def step(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the recorded result of a step, or compute it and put it on disk first.

        Its seconds are its own: those of steps that it takes on its way are theirs.

        Args:
            key: names the step; stable between sittings.
            compute: gives a JSON-able result.
        """
        if key not in self._steps:
            start, taken = time.monotonic(), self._taken
            result = json.loads(json.dumps(compute()))  # what a resumed sitting would read back, so both behave alike
            own = time.monotonic() - start - (self._taken - taken)
            self._taken += own
            step = {"key": key, "seconds": own, "elapsed": self.elapsed, "result": result}
            slug = re.sub(r"[^\w.-]+", "-", key)[:80]
            write_json(self.folder / "steps" / f"{len(self._steps):04d}-{slug}.json", step)
            self._steps[key] = step
        return self._steps[key]["result"]

    def done(self, key: str) -> bool:
        """Tell whether a step is on disk."""
        return key in self._steps

    def seconds(self, key: str) -> float:
        """Return how long a finished step took."""
        return float(self._steps[key]["seconds"])

    def write_pairs(self, name: str, pairs: Iterable[Pair]) -> dict[str, str]:
        """Write raw pairs; return ``{"file", "sha256"}`` for the step that judges them."""
        lines = "".join(json.dumps(pair.to_json(), separators=(",", ":")) + "\n" for pair in pairs)
        return self._write(f"samples/{name}.jsonl", lines.encode())

    def write_scores(self, name: str, values: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Write per-example columns (scores, clusters); return ``{"file", "sha256"}``."""
        return self._write(f"scores/{name}.json", json.dumps(values, allow_nan=False).encode())

    def _write(self, relative: str, data: bytes) -> dict[str, str]:
        path = self.folder / relative
        write_atomic(path, data)
        return {"file": relative, "sha256": sha256(path)}


def read_pairs(path: Path) -> list[Pair]:
    """Read raw pairs back.

    Raises:
        LedgerError: the file is damaged; the message names it.
    """
    try:
        return [Pair.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path} does not hold readable pairs: {error}.") from error


def _acquire(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunDirectoryError(f"{folder} cannot be used as a run directory: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RunDirectoryError(f"{folder} is being written by another run; wait for it or choose another --out.") from None
    return lock


def _make_room(folder: Path) -> None:
    """Remove a run that found nothing out, most often because its workload could not be used; refuse anything else."""
    found = [path for path in folder.iterdir() if path.name != ".lock"]
    run = _is_plan(folder / "plan.json")
    if run and not any((folder / "steps").glob("*.json")) and {path.name for path in found} <= WRITTEN:
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif found:
        hint = "continue it with --resume, or choose another --out" if run else "choose an empty or new --out"
        raise RunDirectoryError(f"{folder} already holds {'a run' if run else 'files'}; {hint}.")


def _is_plan(path: Path) -> bool:
    """A file of somebody else may have this name too."""
    if not path.exists():
        return False
    try:
        plan = read_json(path)
    except LedgerError:
        return False
    return isinstance(plan, dict) and "format" in plan


@contextlib.contextmanager
def _released_on_error(lock: int) -> Iterator[None]:
    """Let go of the lock when opening fails, so that the right call after it finds the directory free."""
    try:
        yield
    except BaseException:
        os.close(lock)
        raise


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """Read the finished steps of a run, in order.

    Raises:
        LedgerError: one of them is damaged; the message names it.
    """
    steps = [read_json(path) for path in sorted((folder / "steps").glob("*.json"))]
    for path, step in zip(sorted((folder / "steps").glob("*.json")), steps, strict=True):
        if not isinstance(step, dict) or not {"key", "seconds", "elapsed", "result"} <= set(step):
            raise LedgerError(f"{path} is not a step record. Restore it, or remove it and --resume to repeat that step.")
    return steps
