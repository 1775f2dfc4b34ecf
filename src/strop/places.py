"""Where strop keeps what outlives a run: the user's cache folder, whose place three variables may decide."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where strop caches: ``$STROP_CACHE``, else ``$XDG_CACHE_HOME/strop``, else ``~/.cache/strop``.

    A relative ``XDG_CACHE_HOME`` is ignored, as its standard (XDG Base Directory Specification) asks.
    """
    if named := os.environ.get("STROP_CACHE"):
        return Path(named)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "strop"
