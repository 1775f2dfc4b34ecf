"""Serve a bundle."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop import bundle
from strop.bundle.files import ARTEFACT
from strop.catalogue import read_recipe
from strop.contract.draft import Draft, Facts
from strop.contract.engine import Program
from strop.contract.recipe import Recipe
from strop.contract.service import Service
from strop.contract.workload import ServingWorkload
from strop.errors import RecipeError, UsageError
from strop.measure.host import free_memory, read_host
from strop.observe import Event, Level, Observer, silent
from strop.pipeline import Outcome, settle
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel
from strop.serve.limits import Limits
from strop.serve.policy import Policy, policy_of
from strop.serve.scheduler import Scheduler
from strop.serve.stack import Stacker, read_padding
from strop.serve.warm import measured_seeds, recorded_seeds
from strop.units import Seconds, parse_seconds, show_seconds

MAX_ROWS = 64
"""Where nobody says; how many rows share a call is then left to the objective alone."""


def serve(
    folder: str | Path,
    *,
    objective: str | Seconds | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    admin_port: int = 8082,
    name: str = "",
    executors: int = 1,
    max_rows: int | None = None,
    recipe: str | Path | Recipe | None = None,
    workload: str | None = None,
    trust: bool = False,
    observer: Observer = silent,
) -> bool:
    """Serve a bundle by the Open Inference Protocol v2 until SIGTERM or Ctrl-C; tell whether all that was taken was answered.

    Args:
        folder: the bundle.
        objective: time within which requests are to be answered, for instance ``"50ms"``; what cannot be is refused at once.
            Default: what the recipe says, else 100 ms.
        host: address to listen on.
        port: of the protocol; 0 takes any that is free.
        admin_port: of metrics, on this machine only; 0 takes any that is free.
        name: of the model in its URL; by default the bundle's folder.
        executors: batches run side by side.
        max_rows: most rows of a batch; default: what the recipe says, else :data:`MAX_ROWS`.
        recipe: how to serve it, as ``strop optimize`` found it: a recipe, its YAML, or a file that holds it.
        workload: workload file, for bundles of the eager engine.
        trust: open a bundle that can execute code although it was not written on this machine.
        observer: told when the server listens, drains and meets faults.

    Raises:
        ArtefactError: the bundle cannot be opened.
        UsageError: a port is taken, or one call already takes longer than the objective.
        RecipeError: the recipe does not say how to serve, or both it and ``max_rows`` do.
        MissingExtraError: the server's packages are not installed.
    """
    from strop.serve.server import Address, new_loop, serve

    started = time.perf_counter()
    folder = Path(folder)
    wanted = parse_seconds(objective) if isinstance(objective, str) else objective
    service = Service(objective=wanted, executors=executors, max_rows=MAX_ROWS if max_rows is None else max_rows)
    if recipe is not None:
        if max_rows is not None:
            raise RecipeError("the recipe says how many rows a batch may hold; leave out --max-rows, or the recipe.")
        service = settled(recipe, folder, replace(service, max_rows=1))
    policy = policy_of(service)
    called, address = model_name(folder, name), Address(host=host, port=port, admin_port=admin_port)
    program = _open(folder, workload, trust)
    cold = {"read": time.perf_counter() - started}

    async def run() -> bool:
        app = build_app(folder, program, policy, called, observer)
        cold["warm"] = time.perf_counter() - started - cold["read"]
        return await serve(app, address, cold, observer)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            return runner.run(run())
        finally:
            program.close()


def settled(recipe: str | Path | Recipe, folder: Path, service: Service) -> Service:
    """Return how a recipe says that a bundle is served.

    Raises:
        RecipeError: it cannot be read, holds what does not act on serving, or changes nothing.
    """
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    draft = Draft(model=_no_model, workload=ServingWorkload(bundle=folder), facts=Facts(), seed=0, service=service)
    told = settle(draft, chosen, read_host())
    if told.outcome is not Outcome.PREPARED or not len(chosen):
        raise RecipeError(f"the recipe does not say how to serve: {told.reason or 'it is empty'}.")
    return draft.service


def _no_model() -> Any:
    raise UsageError("serving acts on a bundle, which has no model in code.")


def model_name(folder: Path, name: str = "") -> str:
    """Return the name of a model in its URL: the one given, or what can be used of the folder's.

    Raises:
        UsageError: the name given cannot stand in a URL.
    """
    called = name or re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "model"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", called) or ".." in called:
        raise UsageError(f"a model's name is made of letters, digits, '.', '_' and '-'; got {called!r}.")
    return called


def build_app(folder: Path, program: Program, policy: Policy, name: str, observer: Observer = silent) -> App:
    """Return the service of a bundle, ready to answer; needs a running event loop.

    Args:
        folder: the bundle.
        program: the same, opened.
        policy: of its scheduler; without a dimension for the batch, requests run one by one whatever it says.
        name: of the model in its URL.
        observer: told about faults.

    Raises:
        UsageError: one call already takes longer than the objective.
    """
    manifest = bundle.read_manifest(folder)
    stacker = Stacker(manifest.signature, read_padding(folder / ARTEFACT))
    if not stacker.batchable:
        policy = replace(policy, max_rows=1)
        observer(Event("serve.unbatched", "the bundle has a fixed number of rows: requests run one by one", Level.WARNING))
    seeds = recorded_seeds(manifest.latency) or measured_seeds(program, manifest.signature, stacker, policy.max_rows)
    quickest = min(seed.seconds for seed in seeds)
    if quickest > policy.objective:
        raise UsageError(
            f"one call takes {show_seconds(quickest)}, longer than the objective of {show_seconds(policy.objective)}: every "
            f"request would be refused. Give a longer --objective."
        )
    scheduler = Scheduler(policy, LatencyModel(seeds, policy.max_rows), free_memory)
    desk = Desk(program, stacker, scheduler, observer=observer)
    return App(desk, manifest.signature, name=name, platform=f"strop_{manifest.engine}", limits=Limits())


def _open(folder: Path, workload: str | None, trust: bool) -> Program:
    """Open the bundle; what rebuilds models in code, and torch with it, is loaded only where the bundle needs it."""
    if bundle.read_manifest(folder).engine != "eager":
        return bundle.open_bundle(folder, trust=trust)
    from strop.api.bundles import open_bundle

    return open_bundle(folder, workload=workload, trust=trust)
