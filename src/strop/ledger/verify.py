"""Recompute every verdict of a run from its raw samples; no model is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.errors import LedgerError, RunDirectoryError, StropError
from strop.ledger.files import read_json, sha256
from strop.ledger.guard import rejudge_quality
from strop.ledger.judgement import rejudge


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked.

    Attributes:
        file: the file, relative to the run directory.
        what: what was checked.
        problem: what is wrong, or ``None`` when it holds.
    """

    file: str
    what: str
    problem: str | None = None


def verify_ledger(folder: Path) -> tuple[Check, ...]:
    """Check digests and recompute verdicts.

    Returns:
        Every check made; the run holds if none has a problem.

    Raises:
        RunDirectoryError: the folder does not hold a run.
    """
    if not (folder / "plan.json").exists():
        raise RunDirectoryError(f"{folder} does not hold a run: plan.json is missing.")
    checks: list[Check] = []
    for path in sorted((folder / "steps").glob("*.json")):
        relative = path.relative_to(folder).as_posix()
        try:
            step = read_json(path)
            for record in _records(step["result"]):
                checks += _check_record(folder, relative, record)
        except (LedgerError, KeyError, TypeError) as error:
            checks.append(Check(file=relative, what="readable step", problem=str(error)))
    checks += _check_listed(folder)
    return tuple(checks)


def _records(value: Any) -> Iterator[Mapping[str, Any]]:
    """Find every recorded judgement inside a step's result, however deep."""
    if isinstance(value, Mapping):
        if value.get("kind") in ("screen", "confirm", "quality"):
            yield value
        else:
            for child in value.values():
                yield from _records(child)
    elif isinstance(value, list):
        for child in value:
            yield from _records(child)


def _check_record(folder: Path, step: str, record: Mapping[str, Any]) -> list[Check]:
    samples = record["samples"]
    problem = _digest_problem(folder / samples["file"], samples["sha256"])
    checks = [Check(file=samples["file"], what="digest", problem=problem)]
    what = f"{record['kind']} verdict follows from the samples"
    try:
        if record["kind"] == "quality":
            same = _as_written(rejudge_quality(folder, record)) == record["result"]
        else:
            same = _as_written({p: c.to_json() for p, c in rejudge(folder, record).items()}) == record["comparisons"]
    except (StropError, KeyError, IndexError, ValueError, TypeError) as error:
        return [*checks, Check(file=samples["file"], what=what, problem=str(error))]
    differs = None if same else f"the verdict recorded in {step} does not follow from {samples['file']}"
    return [*checks, Check(file=samples["file"], what=what, problem=differs)]


def _as_written(value: Any) -> Any:
    """Return a value as it comes back from the disk, where a tuple is a list."""
    return json.loads(json.dumps(value))


def _check_listed(folder: Path) -> list[Check]:
    listing = folder / "digests.json"
    if not listing.exists():
        return [Check(file="digests.json", what="the run was finished", problem="the run was not finished; --resume it")]
    return [
        Check(file=name, what="digest", problem=_digest_problem(folder / name, wanted))
        for name, wanted in read_json(listing).items()
    ]


def _digest_problem(path: Path, wanted: str) -> str | None:
    if not path.exists():
        return f"{path.name} is missing"
    return None if sha256(path) == wanted else f"{path.name} was changed after it was recorded"
