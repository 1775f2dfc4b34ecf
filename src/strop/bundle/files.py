"""The files of an artefact, and whether they are those that were written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from strop.errors import ArtefactError

ARTEFACT = "artefact"


def digest_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below ``folder/artefact``, by its path there.

    Raises:
        ArtefactError: there is no artefact, or it holds a link, which could point outside of the bundle.
    """
    artefact = folder / ARTEFACT
    if artefact.is_symlink() or not artefact.is_dir():
        raise ArtefactError(f"{folder} holds no folder {ARTEFACT}/; lower a model into it first.")
    files = {}
    for path in sorted(artefact.rglob("*")):
        name = path.relative_to(artefact).as_posix()
        if path.is_symlink():
            raise ArtefactError(f"{ARTEFACT}/{name} is a link; a bundle holds plain files only.")
        if path.is_file():
            with path.open("rb") as stream:
                files[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return files


def compare_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Check that ``folder/artefact`` holds exactly the expected files.

    Raises:
        ArtefactError: a file is missing, changed or was added, or a listed path leaves the artefact; the message names it.
    """
    for name in expected:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise ArtefactError(f"the manifest lists {name!r}, which lies outside of the bundle. Do not use this bundle.")
    found = digest_files(folder)
    for name, digest in expected.items():
        if name not in found:
            raise ArtefactError(f"{ARTEFACT}/{name} is missing. Copy the bundle again, or make it again.")
        if found[name] != digest:
            raise ArtefactError(f"{ARTEFACT}/{name} is damaged: its digest is not the manifest's. Copy the bundle again.")
    extra = sorted(set(found) - set(expected))
    if extra:
        raise ArtefactError(f"{ARTEFACT}/{extra[0]} does not belong to the bundle: the manifest does not list it. Remove it.")
