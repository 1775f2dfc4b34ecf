"""Writing that cannot leave half a file behind, and digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from strop.errors import LedgerError, StropError


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, never a part.

    Raises:
        StropError: the disk is full or the folder cannot be written; the old content is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where the folder itself could not be made there is nothing to remove
            temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StropError(f"no space left to write {path.name}; free some space and continue with --resume.") from error
        raise StropError(f"{path} cannot be written: {error.strerror}.") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically; floats keep all their digits, so a recomputation can be compared exactly."""
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        LedgerError: it is missing or damaged; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LedgerError(f"{path} cannot be read: {error}.") from error


SEALED = frozenset({"plan.json", "env.json", "host.json", "recipe.yaml", "report.json", "steps", "samples", "scores", "bundle"})
"""What of a run directory does not change after the run has ended, and what its claims rest on."""


def seal(folder: Path) -> None:
    """Write ``digests.json``: the digest of every file of a finished run that its claims rest on."""
    files = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
    listed = {name.as_posix(): sha256(path) for name, path in sorted(files.items()) if name.parts[0] in SEALED}
    write_json(folder / "digests.json", listed)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()
