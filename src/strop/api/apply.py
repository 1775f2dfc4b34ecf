"""Prepare a recipe for a workload and write the bundle, without comparing it to anything."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from strop.api.bundles import bundle_place, save_bundle
from strop.api.run import open_ledger, open_session, refer
from strop.api.warm import record_latency
from strop.bundle.manifest import Manifest, Origin
from strop.catalogue import read_recipe
from strop.contract.recipe import Recipe
from strop.contract.workload import InferenceWorkload
from strop.errors import PrepareError, RecipeError
from strop.observe import Observer, silent
from strop.pipeline import legal
from strop.search.request import Request


def apply(
    recipe: str | Path | Recipe,
    workload: str | Path | InferenceWorkload,
    *,
    out: str | Path,
    seed: int = 0,
    observer: Observer = silent,
    **options: str,
) -> Manifest:
    """Apply a recipe and write a bundle. Nothing is compared, so nothing is claimed.

    How long its batches take is noted in it for serving, as far as it can be opened without the model's code.

    Args:
        recipe: a recipe, its YAML, or a file that holds it.
        workload: a workload file, ``hf:FOLDER-OR-ID``, or a live workload; its model is built anew, the caller's is untouched.
        out: folder of the bundle; what it holds is replaced only when the new bundle is complete.
        seed: of every random choice.
        observer: told what happens.
        options: for ``hf:`` workloads.

    Raises:
        RecipeError: the recipe is unknown or illegal for this workload.
        PrepareError: it declined, had no effect or failed; the message says why.
    """
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    place_for_bundle = bundle_place(Path(out))
    with tempfile.TemporaryDirectory(prefix="strop-") as place, refer(workload, **options) as reference:
        request = Request(seed=seed)
        with (
            open_ledger(Path(place) / "run", {"command": "apply"}, resume=False) as ledger,
            open_session(reference, request, ledger, observer) as session,
        ):
            problem = legal(chosen, session.workload.traits)
            if problem:
                raise RecipeError(f"{problem}.")
            (prepared,) = session.workshop.prepare([chosen], math.inf)
            if not prepared.ready:
                raise PrepareError(f"{chosen}: {prepared.preparation.outcome.value}: {prepared.preparation.reason}")
            origin = Origin(
                workload=session.workload.name, reference=reference.text, options=reference.options, how="strop apply"
            )
            device = session.workload.device
            save_bundle(place_for_bundle, prepared, session.materials.signature, origin=origin, device=device)
    return record_latency(place_for_bundle, observer=observer)
