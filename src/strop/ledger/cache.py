"""The user's cache folder: artefacts by content hash. Timings are never cached."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from strop.units import Bytes

CACHE_LIMIT: Bytes = 8 * 10**9
"""Artefacts beyond this are removed, least recently used first."""


def cache_folder() -> Path:
    """Return where strop caches: ``$STROP_CACHE``, else ``$XDG_CACHE_HOME/strop``, else ``~/.cache/strop``."""
    if named := os.environ.get("STROP_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "strop"


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
    entries = sorted(folders, key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(f.stat().st_size for f in entry.rglob("*") if f.is_file())
        if total > limit:
            shutil.rmtree(entry, ignore_errors=True)
