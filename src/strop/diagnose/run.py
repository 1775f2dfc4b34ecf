"""Diagnose a model at each of its operating points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from strop.contract.draft import Facts
from strop.contract.signature import Call
from strop.contract.workload import InferenceWorkload
from strop.diagnose.diagnosis import Bottleneck, Diagnosis, PointDiagnosis
from strop.diagnose.profile import Profile, profile_calls, start_cost
from strop.diagnose.suggest import suggest
from strop.diagnose.work import count_work, mean_work
from strop.measure.host import Host
from strop.surgery.facts import read_facts
from strop.surgery.flow import torch_call
from strop.units import Seconds

OVERHEAD_FROM = 0.4
"""Share of a call spent starting operators from which that is what to treat first."""
PRODUCTS_FROM = 0.5
"""Share of operator time in products from which arithmetic or weights, not moving activations, limit a model."""
RIDGE = 8.0
"""FLOP per byte from which arithmetic limits when no roofs were measured; CPUs have their ridge between 4 and 16."""
SHOWN_OPERATORS = 12
CALLS_PER_POINT = 8


def diagnose(
    model: nn.Module,
    inputs: Mapping[str, Sequence[Any]],
    host: Host,
    roofs: Mapping[str, float] | None = None,
    *,
    facts: Facts | None = None,
    seconds: Seconds = 1.0,
) -> Diagnosis:
    """Profile, count and classify each operating point, and suggest instructions.

    Run it in a process of its own: the profiler and the first calls leave traces.

    Args:
        model: in eval mode, as the user built it.
        inputs: operating point → example inputs.
        host: the machine.
        roofs: measured roofs, in place of ``host.roofs``.
        facts: what is known about the model; without them only the points are diagnosed.
        seconds: about how long to spend on all points together; counting the work of the calls comes on top.
    """
    limits = host.roofs if roofs is None else roofs
    cost = start_cost()
    points = tuple(
        _point(name, model, [torch_call(e) for e in examples[:CALLS_PER_POINT]], limits, cost, seconds / len(inputs))
        for name, examples in inputs.items()
    )
    return Diagnosis(points=points, suggestions=suggest(facts, points, host) if facts is not None else ())


def diagnose_workload(workload: InferenceWorkload, host: Host, *, seconds: Seconds = 1.0) -> dict[str, Any]:
    """Build a workload's model, diagnose it, and return :meth:`Diagnosis.to_json`."""
    model = workload.model().eval()
    return diagnose(model, workload.inputs, host, facts=read_facts(model, workload), seconds=seconds).to_json()


def classify(products: float, overhead: float, flops: int, traffic: int, roofs: Mapping[str, float]) -> Bottleneck:
    """Name the bottleneck from the shares of time and the work.

    Args:
        products: share of operator time in products.
        overhead: share of a call spent starting operators.
        flops: per call.
        traffic: compulsory bytes per call.
        roofs: ``gemm_float32`` and ``read``; where they are missing, the ridge is taken at :data:`RIDGE`.
    """
    if overhead >= OVERHEAD_FROM:
        return Bottleneck.OVERHEAD
    ridge = roofs["gemm_float32"] / roofs["read"] if {"gemm_float32", "read"} <= roofs.keys() else RIDGE
    arithmetic = products >= PRODUCTS_FROM and flops >= ridge * traffic
    return Bottleneck.COMPUTE if arithmetic else Bottleneck.MEMORY


def overhead_share(profile: Profile, cost: Seconds) -> float:
    """Estimate the share of a call that starts operators.

    Either their number times the cost of starting an empty one, or the part of a profiled call outside operators,
    whichever is larger; the profiler's own cost sits in both parts of that ratio.
    """
    started = profile.starts * cost / profile.seconds
    outside = max(0.0, 1 - profile.inside / profile.profiled) if profile.profiled > 0 else 0.0
    return min(1.0, max(started, outside))


def _point(
    name: str, model: nn.Module, calls: Sequence[Call], roofs: Mapping[str, float], cost: Seconds, seconds: Seconds
) -> PointDiagnosis:
    profile = profile_calls(model, calls, seconds)
    work = mean_work([count_work(model, call) for call in calls[: profile.timed]])
    overhead = overhead_share(profile, cost)
    measured = {"gemm_float32", "read"} <= roofs.keys()
    return PointDiagnosis(
        point=name,
        bottleneck=classify(profile.product_share, overhead, work.flops, work.traffic, roofs),
        seconds=profile.seconds,
        operators=profile.operators[:SHOWN_OPERATORS],
        operator_calls=profile.starts,
        product_share=profile.product_share,
        overhead_share=overhead,
        flops=work.flops,
        uncounted=work.uncounted,
        traffic=work.traffic,
        bound=max(work.flops / roofs["gemm_float32"], work.traffic / roofs["read"]) if measured else 0.0,
    )
