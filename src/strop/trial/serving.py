"""A bundle being served as a trial: what is asked of it, what a recipe makes of its service, and the processes that serve."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strop import bundle
from strop.bundle.files import ARTEFACT
from strop.catalogue import write_recipe
from strop.contract.draft import Draft, Facts
from strop.contract.pytree import to_numpy
from strop.contract.recipe import Recipe
from strop.contract.service import Service
from strop.contract.signature import Signature, as_call, call_leaves
from strop.contract.workload import ServingWorkload
from strop.errors import UsageError, WorkloadError
from strop.ledger.files import write_atomic
from strop.load.arrivals import parse_arrivals
from strop.load.oip import DATATYPES, Request, Tensor, encode, random_requests
from strop.load.window import Windows
from strop.measure.arm import ArmSpec
from strop.measure.clock import usable_cpus
from strop.serve.request import Bucket
from strop.serve.stack import Stacker, read_padding

BY_DTYPE = {dtype: name for name, dtype in DATATYPES.items() if name != "BF16"}
"""Array dtype → datatype of the protocol."""
POOL = 64
"""Different random requests."""
LOOKED_AT = 2000
"""Requests by which it is told how often they meet."""


@dataclass(frozen=True, slots=True)
class Served:
    """A recipe to serve by; the empty one is the service as it comes, every request a call of its own."""

    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traffic:
    """What is sent to a bundle.

    Attributes:
        windows: the load.
        buckets: of each request: with whom it can share a call, and the rows it brings.
        batchable: whether the bundle takes calls of any number of rows.
    """

    windows: Windows
    buckets: Sequence[tuple[Bucket, int]]
    batchable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingShop:
    """Describes the processes that serve a bundle.

    Attributes:
        workload: what is served.
        folder: where the recipes they serve by are written.
        server: the command line up to the name of the bundle; tests plant another.
    """

    workload: ServingWorkload
    folder: Path
    server: tuple[str, ...] = field(default_factory=lambda: (sys.executable, "-m", "strop", "serve"))

    def arm(self, prepared: Served, name: str) -> ArmSpec:
        """Describe a server, started by the very command a user would type."""
        if not len(prepared.recipe):
            return self._spec(name, "--max-rows", "1")
        path = self.folder / f"{prepared.recipe.key}.yaml"
        write_atomic(path, write_recipe(prepared.recipe).encode())
        return self._spec(name, "--recipe", str(path))

    def plain(self) -> ArmSpec:
        """Describe a server that nothing is said to; it measures calls of all sizes when it starts."""
        return self._spec("plain")

    def _spec(self, name: str, *how: str) -> ArmSpec:
        asked = [str(Path(self.workload.bundle).resolve()), "--objective", f"{self.workload.told:.9f}s", *how]
        command = [*self.server, *asked, "--port", "0", "--no-grpc", "--admin-port", "0", "--json"]
        return ArmSpec(
            name=name, target="strop.trial.server:open_server", arguments={"command": command, "cores": server_cores()}
        )


def server_cores() -> list[int]:
    """Return the processors of servers: all but the last, on which the load is made, where there are several."""
    cores = sorted(usable_cpus())
    return cores[:-1] if len(cores) > 1 else []


def read_traffic(workload: ServingWorkload, seed: int) -> Traffic:
    """Turn the workload's inputs and arrivals into requests, before anything is started.

    Raises:
        ArtefactError: there is no such bundle.
        UsageError: arrivals, rate or inputs cannot be used.
    """
    folder = Path(workload.bundle)
    manifest = bundle.read_manifest(folder)
    stacker = Stacker(manifest.signature, read_padding(folder / ARTEFACT))
    draw = parse_arrivals(str(workload.arrivals))
    windows = Windows(
        requests=_requests(workload, manifest.signature, seed),
        draw=draw,
        rate=workload.per_second,
        seconds=workload.window,
        objective=workload.within,
    )
    draw(windows.rate, windows.lead + windows.seconds, seed)  # a rate that is absurd is told now
    calls = [_leaves(example, manifest.signature) for example in workload.inputs] or _zeros(manifest.signature)
    return Traffic(windows=windows, buckets=[stacker.bucket(leaves) for leaves in calls], batchable=stacker.batchable)


def serving_draft(workload: ServingWorkload, traffic: Traffic, call: float, seed: int) -> Draft:
    """Return a draft on which instructions act at SERVE.

    Args:
        workload: what is served.
        traffic: what is sent to it.
        call: seconds that answering one request takes.
        seed: of the run.
    """
    windows = traffic.windows
    gaps = np.diff(windows.draw(windows.rate, LOOKED_AT / windows.rate, seed))
    company = float((gaps < call).mean()) if len(gaps) else 0.0
    return Draft(
        model=_no_model,
        workload=workload,
        facts=Facts(notes={"batchable": float(traffic.batchable), "company": company}),
        seed=seed,
        service=Service(objective=workload.told),
    )


def _no_model() -> Any:
    raise UsageError("serving acts on a bundle, which has no model in code.")


def _requests(workload: ServingWorkload, signature: Signature, seed: int) -> list[Request]:
    names = [
        Tensor(spec.name, BY_DTYPE[spec.dtype], tuple(-1 if size is None else size for size in spec.shape))
        for spec in signature.inputs
    ]
    if not len(workload.inputs):
        return random_requests(names, POOL, binary=True, seed=seed)
    rows = [_leaves(example, signature) for example in workload.inputs]
    return [encode(zip(names, leaves, strict=True), binary=True) for leaves in rows]


def _leaves(example: Any, signature: Signature) -> list[NDArray[Any]]:
    leaves = [to_numpy(leaf) for leaf in call_leaves(as_call(example), signature)]
    for spec, leaf in zip(signature.inputs, leaves, strict=True):
        if str(leaf.dtype) != spec.dtype or len(leaf.shape) != len(spec.shape):
            raise WorkloadError(
                f"an input has {spec.name} as {leaf.dtype}{list(leaf.shape)}; the bundle takes {spec.dtype}{list(spec.shape)}."
            )
    return leaves


def _zeros(signature: Signature) -> list[list[NDArray[Any]]]:
    sizes = [[(16 if place else 1) if n is None else n for place, n in enumerate(spec.shape)] for spec in signature.inputs]
    return [[np.zeros(size, dtype=spec.dtype) for size, spec in zip(sizes, signature.inputs, strict=True)]]
