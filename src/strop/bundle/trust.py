"""A local record of artefacts that were written on this machine, for engines whose artefacts can execute code.

The record lies below the user's cache folder. A digest is recorded when a bundle is written; nothing else adds one.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

from strop.places import cache_folder


def record_written(files: Mapping[str, str], reference: str = "") -> None:
    """Remember that an artefact with these files (path → SHA-256), which ``reference`` rebuilds, was written here.

    Where the folder cannot be written to, a warning says what that will ask for later: the bundle itself is whole.
    """
    path = _record(files, reference)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        message = (
            f"that this bundle was written here could not be noted ({error}); where it can run code, opening it asks for --trust"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def written_here(files: Mapping[str, str], reference: str = "") -> bool:
    """Tell whether an artefact with exactly these files, and of this reference if one is given, was written here."""
    return _record(files, reference).is_file()


def _record(files: Mapping[str, str], reference: str) -> Path:
    named = [dict(sorted(files.items())), reference] if reference else dict(sorted(files.items()))
    return cache_folder() / "written" / hashlib.sha256(json.dumps(named).encode()).hexdigest()
