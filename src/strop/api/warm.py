"""Opening a bundle so that it can serve at once, here or in a process of its own."""

from __future__ import annotations

from pathlib import Path

from strop import bundle
from strop.bundle.files import ARTEFACT
from strop.bundle.manifest import Manifest
from strop.bundle.trust import written_here
from strop.contract.engine import Program
from strop.errors import ArtefactError
from strop.observe import Event, Level, Observer, silent
from strop.serve.isolated import OPENING, WorkerProcess
from strop.serve.opened import Opened
from strop.serve.stack import Stacker, read_padding
from strop.serve.warm import measured_seeds, recorded_seeds, seeds_to_record, warm_up
from strop.serve.workers import WorkerLostError
from strop.units import Seconds

OPEN_WARM = "strop.api.warm:open_warm"
"""What an isolated worker is told to open a bundle with."""
ROWS = 64
"""Most rows of a batch whose time is recorded: what :func:`strop.api.serve.serve` puts together unless told otherwise."""


def open_warm(folder: str, rows: int, workload: str | None, trust: bool, files: dict[str, str] | None = None) -> Opened:
    """Open a bundle and run every shape once that it will be asked for; called in the process that runs its batches.

    Args:
        folder: the bundle.
        rows: most rows of a batch.
        workload: workload file, for bundles of the eager engine.
        trust: open a bundle that can execute code although it was not written on this machine.
        files: digests that the bundle must have: a worker that is started anew must not bring another version than its
            neighbours have.

    Raises:
        ArtefactError: the bundle cannot be opened, or is another one.
    """
    place = Path(folder)
    manifest = bundle.read_manifest(place)
    if files is not None and files != manifest.files:
        raise ArtefactError("the bundle on disk is another one than is served; load it (SIGHUP) so that workers can start again.")
    program, stacker = _open(place, workload, trust), stacker_for(place, manifest)
    warm_up(program, manifest.signature, stacker)
    seeds = recorded_seeds(manifest.latency) if written_here(manifest.files) else []
    seeds = seeds or measured_seeds(program, manifest.signature, stacker, rows)
    return Opened(program, manifest.signature, tuple(seeds))


def record_latency(folder: Path, patience: Seconds = OPENING, observer: Observer = silent) -> Manifest:
    """Write into a bundle's manifest how long its batches take in a fresh process of this machine.

    Serving predicts with these times from its first request on. A bundle whose model is rebuilt in code is left as it is.

    Args:
        folder: the bundle.
        patience: seconds after which nothing is recorded.
        observer: told when nothing was recorded, and why: the bundle is as good without, only slower to start.
    """
    manifest = bundle.read_manifest(folder)
    if manifest.engine == "eager":
        return manifest
    rows = ROWS if stacker_for(folder, manifest).batchable else 1
    arguments = {"folder": str(folder), "rows": rows, "workload": None, "trust": False, "files": dict(manifest.files)}
    process = WorkerProcess(OPEN_WARM, arguments, manifest.signature)
    try:
        seeds = process.open(patience)
    except (ArtefactError, WorkerLostError) as error:
        observer(Event("bundle.untimed", f"how long batches take was not recorded: {error}", Level.WARNING))
        return manifest
    finally:
        process.close()
    return bundle.update_manifest(folder, manifest, latency={**manifest.latency, **seeds_to_record(seeds)})


def stacker_for(folder: Path, manifest: Manifest) -> Stacker:
    """Return what makes one call of many for a bundle."""
    return Stacker(manifest.signature, read_padding(folder / ARTEFACT))


def _open(folder: Path, workload: str | None, trust: bool) -> Program:
    """Open the bundle; what rebuilds models in code, and torch with it, is loaded only where the bundle needs it."""
    if bundle.read_manifest(folder).engine != "eager":
        return bundle.open_bundle(folder, trust=trust)
    from strop.api.bundles import open_bundle

    return open_bundle(folder, workload=workload, trust=trust)
