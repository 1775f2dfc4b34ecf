"""Opening a run: load the workload, write its data, read the machine, and put the session together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from strop.contract.device import PROCESSOR
from strop.contract.workload import InferenceWorkload, Workload
from strop.engines.inductor import cpp_compiler
from strop.errors import UsageError, WorkloadError
from strop.ledger.cache import prune
from strop.ledger.files import read_json, write_json
from strop.ledger.ledger import Ledger
from strop.measure.environment import read_environment
from strop.measure.host import Host, read_host
from strop.measure.timing import WarmRule
from strop.observe import JsonlSink, Observer, tee
from strop.places import cache_folder
from strop.search.bench import Bench
from strop.search.budget import Budget
from strop.search.examiner import Examiner
from strop.search.request import Request
from strop.search.session import Session
from strop.trial.live import LiveObject
from strop.trial.materials import Materials, build_model, materialise
from strop.trial.reference import Reference, parse_reference
from strop.trial.workshop import Workshop

BACK_ENDS = ("torch", "openvino", "nncf", "onnxruntime", "onnx", "onnxscript", "numpy", "safetensors", "transformers")
"""Distributions whose version decides what an artefact looks like."""

PREPARING = ("contract", "surgery", "engines", "loop", "trial")
"""Folders of strop whose code decides what an artefact looks like; instructions count one by one."""

WARMING_SHARE = 0.01
"""Share of the budget that warming one arm may take; a run starts some twenty arms."""

SHORTEST_WARMING, LONGEST_WARMING = 1.2, 30.0


@contextlib.contextmanager
def refer(workload: str | Path | Workload, **options: str) -> Iterator[Reference]:
    """Turn whatever the caller has into a reference that child processes can load while the context is open."""
    if isinstance(workload, Workload):
        if given := [name for name, value in options.items() if value]:
            raise WorkloadError(f"{', '.join(sorted(given))} can be given for hf: workloads only; a live workload came.")
        with LiveObject(workload) as live:
            yield Reference(kind="live", value=live.address)
    elif isinstance(workload, str | Path):
        yield parse_reference(str(workload), **options)
    else:
        raise WorkloadError(
            f"a workload is a file, hf:FOLDER-OR-ID, a strop.InferenceWorkload, a strop.TrainingWorkload or a "
            f"strop.ServingWorkload; got a {type(workload).__name__}."
        )


@contextlib.contextmanager
def open_session(
    reference: Reference,
    request: Request,
    ledger: Ledger,
    observer: Observer,
    *,
    loaded: InferenceWorkload | None = None,
    fresh: bool = False,
) -> Iterator[Session]:
    """Put a session together; its processes end with the context.

    Args:
        reference: where the workload comes from.
        request: what is asked.
        ledger: an open run.
        observer: told what happens, besides the run's own event file.
        loaded: the workload, where the reference was loaded already.
        fresh: prepare everything anew instead of taking artefacts from the cache.
    """
    told = tee(JsonlSink(ledger.folder / "events.jsonl"), observer)
    workload = loaded or reference.load()
    if loaded is not None and not reference.replayable and workload.device != PROCESSOR:
        workload = reference.load()  # a copy: the caller's own model stays where it is
    model = build_model(workload, request.seed)
    materials = _materials(workload, model, ledger)
    host = read_host(accelerators=workload.device != PROCESSOR)
    note_machine(ledger, host)
    cache = ledger.folder / "artefacts" if fresh else cache_folder() / "artefacts"
    prune(cache)
    origin = _origin(reference, materials, host, request, workload.device)
    workshop = Workshop(reference, materials, host, cache, origin, ledger.folder / "logs", request.seed)
    baseline = workshop.prepare_original(workload, model)
    del model
    if workload.device != PROCESSOR:
        torch.cuda.empty_cache()  # what this process held there is for the trials'
    budget = Budget(request.budget, lambda: ledger.elapsed)
    warm = WarmRule(max_seconds=min(LONGEST_WARMING, max(SHORTEST_WARMING, WARMING_SHARE * request.budget)))
    with Bench(workshop, materials.points, request.seed, ledger.folder / "logs", told, warm) as bench:
        yield Session(
            request=request,
            ledger=ledger,
            observer=told,
            workload=workload,
            materials=materials,
            workshop=workshop,
            bench=bench,
            examiner=Examiner(workload, materials, ledger, bench, request.max_drop, request.alpha, longest=request.budget),
            host=host,
            budget=budget,
            baseline=baseline,
            reserved=budget.reserve(0.0),
        )


def open_ledger(out: Path, plan: dict[str, Any], *, resume: bool) -> Ledger:
    """Create the run directory, or go on with it if the same thing is asked again.

    Raises:
        UsageError: another workload or question was asked in that directory.
    """
    if not resume:
        return Ledger.create(out, plan)
    ledger = Ledger.resume(out)
    asked, recorded = json.loads(json.dumps(plan)), ledger.plan
    differing = sorted(key for key in asked if recorded.get(key) != asked[key])
    if differing:
        ledger.close()
        raise UsageError(
            f"{out} was started with another {', '.join(differing)}; resume it with the same arguments, or choose another --out."
        )
    return ledger


def _materials(workload: InferenceWorkload, model: nn.Module, ledger: Ledger) -> Materials:
    """Write the workload's data, unless an earlier sitting did and noted which workload it was: that one is compared."""
    folder = ledger.folder / "materials"
    if ledger.done("workload") and (folder / "materials.json").exists():
        return Materials(folder)
    return materialise(workload, model, folder)


def note_machine(ledger: Ledger, host: Host) -> None:
    """Write down, once a run, what machine it is and what surrounds it."""
    said = cache_folder() / "selftest.json"
    if not (ledger.folder / "env.json").exists():
        write_json(ledger.folder / "env.json", read_environment())
        write_json(
            ledger.folder / "host.json",
            {
                "cpu": host.cpu,
                "cores": host.cores,
                "isa": sorted(host.isa),
                "memory": host.memory_bytes,
                "l3": host.l3_bytes,
                "accelerators": list(host.accelerators),
                "selftest": read_json(said) if said.exists() else None,
            },
        )


def _origin(reference: Reference, materials: Materials, host: Host, request: Request, device: str) -> dict[str, Any]:
    """What artefacts depend on besides the recipe."""
    versions = {}
    for name in BACK_ENDS:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    compiler = cpp_compiler()  # without one, recipes are declined, which must not be remembered once there is one
    return {
        "workload": reference.digest(),
        "data": materials.index["data"],
        "isa": sorted(host.isa),
        "accelerators": list(host.accelerators),
        "device": device,
        "cores": host.cores,
        "python": platform.python_version(),
        "versions": versions,
        "compiler": [compiler, shutil.which(compiler)],
        "code": _code_digest(),
        "seed": request.seed,
    }


def _code_digest() -> str:
    """Return a digest of strop's own code that artefacts come out of, so that an upgrade never meets an older artefact."""
    root = Path(__file__).parents[1]
    files = [root / "pipeline.py", *(f for folder in PREPARING for f in (root / folder).rglob("*.py"))]
    state = hashlib.sha256()
    for file in sorted(files):
        state.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return state.hexdigest()
