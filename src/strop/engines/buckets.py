"""Shape buckets: a few fixed sizes that varying dimensions are padded up to, so that an engine can compile each exactly.

The first dimension of an input is its batch and is never padded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from strop.contract.signature import TensorSpec

MAX_BUCKETS = 4
Shapes = Sequence[tuple[int, ...]]
Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One length that several dimensions share.

    Attributes:
        inputs: ``(input, dimension)`` places that have this length.
        outputs: ``(output, dimension)`` places that have it too and are cut back to it.
        edges: batch size → for 1, 2, … buckets the edges in rising order. Sizes differ in what they are padded to, because
            a batch is as long as its longest row.
    """

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    edges: Mapping[int, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlan:
    """How calls may be padded.

    Attributes:
        axes: the lengths that vary.
        batches: batch sizes seen in the examples, most frequent first; only these are padded.
        reason: why buckets cannot be used for this model; empty when they can.
    """

    axes: tuple[Axis, ...] = ()
    batches: tuple[int, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> BucketPlan:
        """Rebuild a plan from :meth:`to_json`."""
        axes = tuple(
            Axis(
                inputs=tuple((i, d) for i, d in axis["inputs"]),
                outputs=tuple((o, d) for o, d in axis["outputs"]),
                edges={int(batch): tuple(map(tuple, edges)) for batch, edges in axis["edges"].items()},
            )
            for axis in row["axes"]
        )
        return cls(axes=axes, batches=tuple(row["batches"]), reason=row["reason"])


def choose_edges(sizes: Sequence[int], count: int) -> tuple[int, ...]:
    """Choose at most ``count`` sizes such that padding each size up to the nearest costs least in total.

    Exact, by dynamic programming over the distinct sizes; cost is the sum of the padded sizes.
    """
    seen = sorted(Counter(sizes).items())
    weight = np.concatenate([[0], np.cumsum([n for _, n in seen])])
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    best += [(float("inf"), ())] * len(seen)
    for _ in range(min(count, len(seen))):
        best = [best[0]] + [
            min((best[k][0] + float(weight[j] - weight[k]) * seen[j - 1][0], (*best[k][1], seen[j - 1][0])) for k in range(j))
            for j in range(1, len(seen) + 1)
        ]
    return best[-1][1]


def edge_over(edges: Sequence[int], size: int) -> int | None:
    """Return the smallest of the rising ``edges`` that ``size`` can be padded to, or ``None`` when it is above them all."""
    place = bisect_left(edges, size)
    return edges[place] if place < len(edges) else None


def plan_buckets(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], in_shapes: Sequence[Shapes], out_shapes: Sequence[Shapes]
) -> BucketPlan:
    """Find the lengths that vary, where they appear in the answer, and good edges.

    Args:
        inputs: input part of the signature.
        outputs: output part of the signature.
        in_shapes: shapes of the inputs, per example.
        out_shapes: shapes of the outputs for the first examples, at least one; fewer than ``in_shapes`` are allowed.
    """
    series = {place: tuple(s[place[0]][place[1]] for s in in_shapes) for place in _varying(inputs)}
    batch = {tuple(s[i][0] for s in in_shapes) for i, spec in enumerate(inputs) if spec.shape}
    lengths = {place: sizes for place, sizes in series.items() if place[1] > 0}
    if not lengths:
        return BucketPlan(reason="no dimension but the batch varies in the examples")
    places: dict[tuple[int, ...], list[Place]] = {}
    for place, sizes in lengths.items():
        places.setdefault(sizes, []).append(place)
    found: dict[tuple[int, ...], list[Place]] = {sizes: [] for sizes in places}
    known = len(out_shapes)
    for o, d in _varying(outputs):
        sizes = tuple(s[o][d] for s in out_shapes)
        if d == 0 and any(sizes == b[:known] for b in batch):
            continue
        match = [full for full in found if full[:known] == sizes]
        if len(match) != 1:
            return BucketPlan(reason=f"dimension {d} of output {outputs[o].name} varies, but not as one input dimension does")
        found[match[0]].append((o, d))
    batches = _batches(in_shapes)
    axes = tuple(
        Axis(
            inputs=tuple(where),
            outputs=tuple(found[sizes]),
            edges={batch: _edges(sizes, in_shapes, batch) for batch in batches},
        )
        for sizes, where in places.items()
    )
    return BucketPlan(axes=axes, batches=batches)


class Padder:
    """Pads calls for one number of buckets and cuts answers back.

    Args:
        plan: a usable plan.
        count: number of buckets per length, 1 to 4.
    """

    def __init__(self, plan: BucketPlan, count: int) -> None:
        self._axes = [
            (axis.inputs, axis.outputs, {batch: edges[count - 1] for batch, edges in axis.edges.items()}) for axis in plan.axes
        ]
        self._batches = frozenset(plan.batches)

    def fit(self, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...] | None:
        """Return the padded shapes of a call, or ``None`` when it fits no bucket and must run at its own shape."""
        batch = shapes[0][0] if shapes[0] else 0
        if batch not in self._batches:
            return None
        padded = [list(shape) for shape in shapes]
        for inputs, _, by_batch in self._axes:
            edges = by_batch[batch]
            first, dimension = inputs[0]
            size = shapes[first][dimension]
            edge = edge_over(edges, size)
            if edge is None:
                return None
            for i, d in inputs:
                if shapes[i][d] != size:
                    return None
                padded[i][d] = edge
        return tuple(map(tuple, padded))

    def cuts(self, shapes: Sequence[tuple[int, ...]], outputs: int) -> list[tuple[slice, ...]]:
        """Return for each output the slices that cut a padded answer back to the call's own lengths."""
        cuts: list[list[slice]] = [[] for _ in range(outputs)]
        for inputs, places, _ in self._axes:
            size = shapes[inputs[0][0]][inputs[0][1]]
            for o, d in places:
                cuts[o] += [slice(None)] * (d + 1 - len(cuts[o]))
                cuts[o][d] = slice(size)
        return [tuple(cut) for cut in cuts]


def _varying(specs: Sequence[TensorSpec]) -> list[Place]:
    return [(i, d) for i, spec in enumerate(specs) for d, size in enumerate(spec.shape) if size is None]


def _batches(in_shapes: Sequence[Shapes]) -> tuple[int, ...]:
    counts = Counter(shapes[0][0] if shapes[0] else 0 for shapes in in_shapes)
    return tuple(size for size, _ in counts.most_common())


def _edges(sizes: Sequence[int], in_shapes: Sequence[Shapes], batch: int) -> tuple[tuple[int, ...], ...]:
    own = [size for size, shapes in zip(sizes, in_shapes, strict=True) if (shapes[0][0] if shapes[0] else 0) == batch]
    return tuple(choose_edges(own, count) for count in range(1, MAX_BUCKETS + 1))
