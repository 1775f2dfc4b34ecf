"""Making a bundle out of an artefact."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from strop import engines
from strop.bundle.files import digest_files
from strop.bundle.manifest import Manifest, Origin
from strop.bundle.trust import record_written
from strop.contract.device import PROCESSOR
from strop.contract.draft import EngineOptions
from strop.contract.signature import Signature

MANIFEST = "manifest.json"
_PACKAGES = {
    "eager": ("torch", "safetensors"),
    "inductor": ("torch",),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
}


def write_bundle(
    folder: Path,
    *,
    engine: str,
    signature: Signature,
    device: str = PROCESSOR,
    options: EngineOptions | None = None,
    recipe: Mapping[str, Mapping[str, Any]] | None = None,
    tallies: Mapping[str, Mapping[str, int]] | None = None,
    origin: Origin | None = None,
    quality: Mapping[str, Any] | None = None,
    latency: Mapping[str, Mapping[str, float]] | None = None,
) -> Manifest:
    """Turn ``folder``, whose ``artefact/`` an engine has lowered a model into, into a bundle.

    The manifest is written last and atomically, so that a folder with a manifest is a whole bundle.

    Args:
        folder: the bundle.
        engine: name of the engine that lowered it.
        signature: inputs and outputs.
        device: where it answers, as torch writes it.
        options: options of opening.
        recipe: instruction name → settings.
        tallies: instruction name → what it changed.
        origin: where it comes from.
        quality: measured quality.
        latency: operating point → measured figures in seconds.

    Raises:
        RecipeError: there is no such engine.
        ArtefactError: there is no artefact in the folder.
    """
    engines.get(engine)
    manifest = Manifest(
        strop=_version("strop"),
        engine=engine,
        device=device,
        options=options or EngineOptions(),
        signature=signature,
        recipe=recipe or {},
        tallies=tallies or {},
        origin=origin or Origin(),
        quality=quality or {},
        latency=latency or {},
        requires={package: _version(package) for package in _PACKAGES[engine]},
        files=digest_files(folder),
    )
    record_written(manifest.files)
    if manifest.origin.reference:
        record_written(manifest.files, manifest.origin.reference)
    _write(folder, manifest)
    return manifest


def update_manifest(folder: Path, manifest: Manifest, **measured: Any) -> Manifest:
    """Write ``quality`` or ``latency``, once measured, into an existing bundle's manifest; the artefact is not touched."""
    updated = replace(manifest, **measured)
    _write(folder, updated)
    return updated


def _write(folder: Path, manifest: Manifest) -> None:
    temporary = folder / f"{MANIFEST}.partial"
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(manifest.to_json(), stream, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
