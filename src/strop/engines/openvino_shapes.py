"""Which shapes an OpenVINO model may be padded, or its batches regrouped, to: planned from the examples and then verified.

A plan is used only if padded and regrouped probes get the float32 answers of the exact ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from strop.contract.draft import Draft
from strop.contract.pytree import to_numpy
from strop.contract.signature import as_call, call_leaves
from strop.engines.buckets import BucketPlan, Padder, plan_buckets
from strop.engines.calls import Array
from strop.engines.openvino_program import ExactShapes
from strop.engines.ragged import ROWS, RaggedPlan, Regrouper, plan_ragged

_PROBES = 12
_BATCHES = 3
_TOLERANCE = 1e-4


def plan_shapes(runner: ExactShapes, draft: Draft) -> tuple[BucketPlan, RaggedPlan]:
    """Plan buckets and regrouping from a draft's examples.

    Args:
        runner: answers calls at their own shape in float32.
        draft: its examples are the shapes to expect.
    """
    calls = [[to_numpy(leaf) for leaf in call_leaves(as_call(e), draft.signature)] for e in draft.examples]
    shapes = [tuple(a.shape for a in arrays) for arrays in calls]
    probes = [calls[shapes.index(shape)] for shape in list(dict.fromkeys(shapes))[:: max(1, len(set(shapes)) // _PROBES)]]
    answers = [_run(runner, arrays) for arrays in probes]
    probed = [tuple(a.shape for a in arrays) for arrays in probes]
    rest = [shape for shape in shapes if shape not in probed]
    ordered = [*probed, *rest, *(shape for shape in shapes if shape in probed)]
    plan = plan_buckets(
        draft.signature.inputs, draft.signature.outputs, ordered, [tuple(a.shape for a in answer) for answer in answers]
    )
    if not plan.reason:
        plan = _verified(plan, runner, probes, answers)
    ragged = plan_ragged(plan, calls, draft.signature.outputs)
    if not ragged.reason:
        ragged = _verified_ragged(ragged, runner, [c for c in calls if c[0].shape[0] > ROWS][:_BATCHES])
    return plan, ragged


def _verified(
    plan: BucketPlan, runner: ExactShapes, probes: Sequence[Sequence[Array]], answers: Sequence[Sequence[Array]]
) -> BucketPlan:
    padder = Padder(plan, 1)
    for arrays, answer in zip(probes, answers, strict=True):
        shapes = [a.shape for a in arrays]
        padded = padder.fit(shapes)
        if padded is None:
            continue
        filled = _filled(arrays, padded)
        cuts = padder.cuts(shapes, len(answer))
        worst = max(_departure(got[cut], want) for got, cut, want in zip(_run(runner, filled), cuts, answer, strict=True))
        if not worst <= _TOLERANCE:
            return BucketPlan(
                reason=f"padding changes the answers (by {worst:.1e} of the largest): the model does not mask what is padded"
            )
    return plan


def _verified_ragged(plan: RaggedPlan, runner: ExactShapes, batches: Sequence[Sequence[Array]]) -> RaggedPlan:
    regrouper = Regrouper(plan, 1)
    for arrays in batches:
        wanted = _run(runner, arrays)
        for group in regrouper.groups(arrays) or ():
            answers = _run(runner, _filled(group.arrays, group.shapes))
            worst = max(_departure(got[: len(group.rows)], want[group.rows]) for got, want in zip(answers, wanted, strict=True))
            if not worst <= _TOLERANCE:
                return RaggedPlan(reason=f"regrouping the rows of a batch changes the answers (by {worst:.1e} of the largest)")
    return plan


def _run(runner: ExactShapes, arrays: Sequence[Array]) -> list[Array]:
    return runner.run([np.ascontiguousarray(a) for a in arrays])


def _filled(arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    return [np.pad(a, [(0, n - m) for n, m in zip(s, a.shape, strict=True)]) for a, s in zip(arrays, shapes, strict=True)]


def _departure(got: Array, want: Array) -> float:
    if want.size == 0:
        return 0.0
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-12))
