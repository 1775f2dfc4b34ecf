"""A local record of artefacts that were written on this machine, for engines whose artefacts can execute code.

The record lies below the user's cache folder. A digest is recorded when a bundle is written; nothing else adds one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path


def record_written(files: Mapping[str, str]) -> None:
    """Remember that an artefact with these files (path → SHA-256) was written here."""
    path = _record(files)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


def written_here(files: Mapping[str, str]) -> bool:
    """Tell whether an artefact with exactly these files was written here."""
    return _record(files).is_file()


def cache_folder() -> Path:
    """Return strop's folder below ``XDG_CACHE_HOME``, by default ``~/.cache/strop``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "strop"


def _record(files: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(dict(sorted(files.items()))).encode()).hexdigest()
    return cache_folder() / "written" / digest
