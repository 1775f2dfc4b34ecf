"""Serve a bundle."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from strop import bundle
from strop.api.warm import OPEN_WARM, ROWS, open_warm, stacker_for
from strop.bundle.name import model_name
from strop.contract.draft import Draft, Facts
from strop.contract.recipe import Recipe
from strop.contract.service import Service
from strop.contract.workload import ServingWorkload
from strop.errors import RecipeError, UsageError
from strop.measure.host import free_memory, read_host
from strop.observe import Event, Level, Observer, silent
from strop.serve.app import App
from strop.serve.desk import Desk
from strop.serve.isolated import ProcessWorkers
from strop.serve.latency import LatencyModel
from strop.serve.limits import Limits
from strop.serve.policy import Policy, policy_of
from strop.serve.priority import giving_way
from strop.serve.scheduler import Scheduler
from strop.serve.version import Loader, Version
from strop.serve.workers import ThreadWorkers, Workers
from strop.units import Seconds, parse_seconds, show_seconds


def serve(
    folder: str | Path,
    *,
    objective: str | Seconds | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int | None = 9000,
    admin_port: int = 8082,
    name: str = "",
    executors: int = 1,
    workers: int = 0,
    max_rows: int | None = None,
    recipe: str | Path | Recipe | None = None,
    workload: str | None = None,
    trust: bool = False,
    observer: Observer = silent,
) -> bool:
    """Serve a bundle by the Open Inference Protocol v2 until SIGTERM or Ctrl-C; tell whether all that was taken was answered.

    SIGHUP, or ``POST /v2/repository/models/<name>/load`` at the admin port, takes what lies in the folder then into service.

    Args:
        folder: the bundle.
        objective: time within which requests are to be answered, for instance ``"50ms"``; what cannot be is refused at once.
            Default: what the recipe says, else 100 ms.
        host: address to listen on.
        port: of the protocol; 0 takes any that is free.
        grpc_port: of the protocol on gRPC; 0 takes any that is free, ``None`` leaves it out.
        admin_port: of metrics, on this machine only; 0 takes any that is free.
        name: of the model in its URL; by default the bundle's folder.
        executors: batches run side by side, by threads of this process.
        workers: processes that run batches instead, each with the model in memory of its own: slower by the way there and
            back, but what ends one ends nothing else. 0: none.
        max_rows: most rows of a batch; default: what the recipe says, else :data:`~strop.api.warm.ROWS`.
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
    folder = Path(folder).absolute()
    policy = _policy(folder, objective, _side_by_side(executors, workers), max_rows, recipe)
    called = model_name(folder, name)
    hidden = {str(folder): called, str(folder.resolve()): called}
    address = Address(host=host, port=port, grpc_port=grpc_port, admin_port=admin_port)

    def load() -> Version:
        return load_version(folder, policy, isolated=workers > 0, workload=workload, trust=trust)

    version = load()
    cold = {"load": time.perf_counter() - started}

    async def run() -> bool:
        app = build_app(version, policy, called, observer)
        loader = Loader(app.desk, version.signature, load, hidden, observer)
        return await serve(app, address, cold, observer, loader)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            return runner.run(run())
        finally:
            version.workers.close()  # where serving did not begin; may be called again


def _policy(
    folder: Path, objective: str | Seconds | None, executors: int, max_rows: int | None, recipe: str | Path | Recipe | None
) -> Policy:
    """Return what the scheduler is told: by the arguments, or by the recipe where there is one."""
    wanted = parse_seconds(objective) if isinstance(objective, str) else objective
    service = Service(objective=wanted, executors=executors, max_rows=ROWS if max_rows is None else max_rows)
    if recipe is not None:
        if max_rows is not None:
            raise RecipeError("the recipe says how many rows a batch may hold; leave out --max-rows, or the recipe.")
        service = settled(recipe, folder, replace(service, max_rows=1))
    return policy_of(service)


def _side_by_side(executors: int, workers: int) -> int:
    """Return how many batches run at a time."""
    if workers and executors != 1:
        raise UsageError(f"batches run in threads or in processes; got executors={executors} and workers={workers}. Give one.")
    if workers < 0:
        raise UsageError(f"workers are counted from 0; got workers={workers}.")
    return workers or executors


def settled(recipe: str | Path | Recipe, folder: Path, service: Service) -> Service:
    """Return how a recipe says that a bundle is served.

    Raises:
        RecipeError: it cannot be read, holds what does not act on serving, or changes nothing.
    """
    from strop.catalogue import read_recipe  # here, because it and what measures take a good part of the time to start
    from strop.pipeline import Outcome, settle

    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    draft = Draft(model=_no_model, workload=ServingWorkload(bundle=folder), facts=Facts(), seed=0, service=service)
    told = settle(draft, chosen, read_host())
    if told.outcome is not Outcome.PREPARED or not len(chosen):
        raise RecipeError(f"the recipe does not say how to serve: {told.reason or 'it is empty'}.")
    return draft.service


def _no_model() -> Any:
    raise UsageError("serving acts on a bundle, which has no model in code.")


def build_app(version: Version, policy: Policy, name: str, observer: Observer = silent) -> App:
    """Return the service of a version, ready to answer; needs a running event loop. Its desk owns the version's workers.

    Args:
        version: opened.
        policy: of its scheduler; without a dimension for the batch, requests run one by one whatever it says.
        name: of the model in its URL.
        observer: told about faults.
    """
    if not version.stacker.batchable:
        policy = replace(policy, max_rows=1)
        observer(Event("serve.unbatched", "the bundle has a fixed number of rows: requests run one by one", Level.WARNING))
    desk = Desk(version.workers, version.stacker, Scheduler(policy, version.latency, free_memory), observer=observer)
    return App(desk, version.signature, name=name, platform=f"strop_{version.engine}", limits=Limits())


def load_version(
    folder: Path, policy: Policy, *, isolated: bool = False, workload: str | None = None, trust: bool = False
) -> Version:
    """Open and warm what lies in a bundle's folder now.

    Args:
        folder: the bundle.
        policy: says how many workers there are, and what is asked of them.
        isolated: in processes of their own.
        workload: workload file, for bundles of the eager engine.
        trust: open a bundle that can execute code although it was not written on this machine.

    Raises:
        ArtefactError: the bundle cannot be opened.
        UsageError: one call already takes longer than the objective.
    """
    manifest = bundle.read_manifest(folder)
    stacker = stacker_for(folder, manifest)
    rows = policy.max_rows if stacker.batchable else 1
    workers: Workers
    if isolated:
        arguments = {"folder": str(folder), "rows": rows, "workload": workload, "trust": trust, "files": dict(manifest.files)}
        workers = isolated_workers = ProcessWorkers(OPEN_WARM, arguments, manifest.signature, policy.executors)
        seeds = isolated_workers.wait()
    else:
        with giving_way():
            opened = open_warm(str(folder), rows, workload, trust)
        workers, seeds = ThreadWorkers(opened.program, policy.executors), opened.seeds
    quickest = min(seed.seconds for seed in seeds)
    if quickest > policy.objective:
        workers.close()
        raise UsageError(
            f"one call takes {show_seconds(quickest)}, longer than the objective of {show_seconds(policy.objective)}: every "
            f"request would be refused. Give a longer --objective."
        )
    return Version(workers, manifest.signature, stacker, LatencyModel(seeds, rows), manifest.engine)
