"""What a bundle is called where it is served."""

from __future__ import annotations

import re
from pathlib import Path

from strop.errors import UsageError


def model_name(folder: Path, name: str = "") -> str:
    """Return the name of a model in its URL: the one given, or what can be used of the folder's.

    Raises:
        UsageError: the name given cannot stand in a URL.
    """
    called = name or re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "model"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", called) or ".." in called:
        raise UsageError(f"a model's name is made of letters, digits, '.', '_' and '-'; got {called!r}.")
    return called
