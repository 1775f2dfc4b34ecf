"""Artefacts by content hash in the user's cache folder. Timings are never cached."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from strop.units import Bytes

CACHE_LIMIT: Bytes = 8 * 10**9
"""Artefacts beyond this are removed, least recently used first."""


def publish(prepared: Path, entry: Path) -> Path:
    """Move a finished folder to its place in the cache, atomically; another process may have been first.

    Returns:
        The folder to use.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    try:
        prepared.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise
        shutil.rmtree(prepared)
    return entry


def prune(folder: Path, limit: Bytes = CACHE_LIMIT) -> None:
    """Remove the least recently used entries until the rest fits into ``limit``."""
    if not folder.is_dir():
        return
    places = [folder, folder / "graphs"]
    folders = [p for place in places if place.is_dir() for p in place.iterdir() if p.is_dir() and p not in places]
    ages = {entry: stat.st_mtime for entry in folders if (stat := _stat(entry)) is not None}
    total = 0
    for entry in sorted(ages, key=lambda entry: ages[entry], reverse=True):
        total += sum(stat.st_size for f in entry.rglob("*") if f.is_file() and (stat := _stat(f)) is not None)
        if total > limit:
            shutil.rmtree(entry, ignore_errors=True)


def touch(entry: Path) -> None:
    """Note that an entry is in use, so that another process does not take it for one that nobody needs."""
    with contextlib.suppress(OSError):  # a cache on a read-only disk forgets nothing either
        os.utime(entry)


def _stat(path: Path) -> os.stat_result | None:
    """Look at what another process may move or remove meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
