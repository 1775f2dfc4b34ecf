"""Opening a bundle, after making sure that it is what was written and safe to load."""

from __future__ import annotations

import json
from pathlib import Path

from strop import engines
from strop.bundle.files import ARTEFACT, compare_files
from strop.bundle.manifest import Manifest
from strop.bundle.trust import written_here
from strop.bundle.write import MANIFEST
from strop.contract.draft import EngineOptions
from strop.contract.engine import Program, Source
from strop.engines.hosted import check_present
from strop.errors import ArtefactError, RecipeError


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        ArtefactError: there is none, or it is damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtefactError(f"{folder} is not a bundle: it has no {MANIFEST}. Give the folder that strop wrote with --out.")
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is damaged ({error}). Copy the bundle again, or make it again.") from error
    return Manifest.from_json(row)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check every file of the artefact against the manifest.

    Raises:
        ArtefactError: a file is missing, damaged, added or outside of the bundle; the message names it.
    """
    compare_files(folder, manifest.files)


def open_bundle(
    folder: Path, *, source: Source | None = None, options: EngineOptions | None = None, trust: bool = False
) -> Program:
    """Open a bundle as a drop-in callable for the model.

    Args:
        folder: the bundle.
        source: rebuilds the model in code; only bundles of the eager engine need it.
        options: options of opening in place of the bundle's own.
        trust: open a bundle that can execute code although it was not written on this machine.

    Raises:
        ArtefactError: the bundle is missing, damaged, of another format, for a device that is not here, or can execute code
            and comes from elsewhere.
        MissingExtraError: the engine's packages are not installed.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    try:
        engine = engines.get(manifest.engine)
    except RecipeError as error:
        raise ArtefactError(f"the bundle asks for an engine this strop does not have: {error}") from error
    if engine.runs_code and not trust and not written_here(manifest.files):
        raise ArtefactError(
            f"opening this {engine.name} bundle would run compiled code in it, and it was not written on this machine. "
            f"If you know who made {folder.name!r}, open it with trust=True (--trust)."
        )
    check_present(manifest.device)
    return engine.open(folder / ARTEFACT, manifest.signature, options or manifest.options, source)
