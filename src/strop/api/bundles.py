"""Making and opening bundles."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop import bundle
from strop.bundle.files import ARTEFACT
from strop.bundle.manifest import Manifest, Origin
from strop.bundle.trust import written_here
from strop.catalogue import recipe_from_json
from strop.contract.engine import Program
from strop.contract.signature import Signature
from strop.errors import ArtefactError, UsageError
from strop.pipeline import rebuild
from strop.trial.materials import build_model, draft_for
from strop.trial.reference import Reference, parse_reference
from strop.trial.workshop import Prepared


def save_bundle(
    folder: Path,
    prepared: Prepared,
    signature: Signature,
    *,
    origin: Origin,
    device: str,
    quality: Mapping[str, Any] | None = None,
    latency: Mapping[str, Mapping[str, float]] | None = None,
) -> Manifest:
    """Copy a prepared artefact into a bundle of its own; ``device`` is the one it was prepared for.

    Raises:
        UsageError: something that is not a bundle lies in its place.
    """
    folder = bundle_place(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(prepared.artefact, partial / ARTEFACT)
    manifest = bundle.write_bundle(
        partial,
        engine=prepared.preparation.engine,
        signature=signature,
        device=device,
        options=prepared.options,
        recipe=prepared.recipe.to_json(),
        tallies=prepared.preparation.tallies,
        origin=origin,
        quality=quality,
        latency=latency,
    )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return manifest


def bundle_place(folder: Path) -> Path:
    """Return the absolute path of a folder that a bundle may be written to: none yet, an empty one, or an older bundle.

    Raises:
        UsageError: it holds something else, which writing would destroy.
    """
    place = folder.resolve()
    if place.exists() and not place.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the bundle.")
    if place.exists() and any(place.iterdir()) and not _is_bundle(place):
        raise UsageError(f"{folder} holds files that are no bundle, and would be replaced; choose an empty or new folder.")
    return place


def _is_bundle(place: Path) -> bool:
    """Whether a folder holds a bundle and nothing else; a manifest.json alone is also what web pages and extensions have."""
    try:
        bundle.read_manifest(place)
    except ArtefactError:
        return False
    return {path.name for path in place.iterdir()} <= {bundle.MANIFEST, ARTEFACT}


def open_bundle(folder: str | Path, *, workload: str | None = None, trust: bool = False) -> Program:
    """Open a bundle: a drop-in callable for the model.

    Args:
        folder: the bundle.
        workload: workload file, for a bundle of the eager engine whose own reference has moved or is not to be trusted.
        trust: open a bundle that can execute code although it was not written on this machine.

    Raises:
        ArtefactError: the bundle is damaged, unsafe, for a device that is not here, or needs a workload that cannot be found.
    """
    folder = Path(folder)
    manifest = bundle.read_manifest(folder)
    if manifest.engine != "eager":
        return bundle.open_bundle(folder, trust=trust)
    reference = parse_reference(workload) if workload else _own_reference(folder, manifest, trust)

    def source() -> Any:
        loaded = replace(reference.load(), device=manifest.device)
        draft = draft_for(loaded, build_model(loaded, 0), manifest.signature, seed=0)
        return rebuild(draft, recipe_from_json(manifest.recipe))

    return bundle.open_bundle(folder, source=source, trust=trust)


def _own_reference(folder: Path, manifest: Manifest, trust: bool) -> Reference:
    origin = manifest.origin
    if not origin.reference:
        raise ArtefactError(f"{folder} runs on the eager engine and was made from a live object; give its workload file.")
    if not trust and not written_here(manifest.files, origin.reference):
        raise ArtefactError(
            f"opening this eager bundle would run the workload that it names, {origin.reference}, and it was not written on this "
            f"machine. Name the workload yourself (--workload), or, if you know who made it, open it with trust=True (--trust)."
        )
    return parse_reference(origin.reference, **origin.options)
