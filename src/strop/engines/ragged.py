"""Batches whose rows differ in length: sort the rows, answer them in groups, and pad each group no further than it needs.

A batch is usually padded to its longest row. Where a mask says which places are real, and the model provably ignores the
rest, the rows can be sorted by length and answered a few at a time, each group padded to the nearest of a few widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strop.contract.signature import TensorSpec
from strop.engines.buckets import MAX_BUCKETS, BucketPlan, Place, choose_edges, edge_over
from strop.engines.calls import Array

ROWS = 8
"""Rows of a group. Fewer waste less padding and more work per call (measured on MiniLM: 4 and 8 alike, 16 behind)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaggedPlan:
    """How the rows of a batch may be regrouped.

    Attributes:
        mask: input that marks real places by one and padding, at the end of each row, by zero.
        lengths: ``(input, dimension)`` places that have the batch's padded length.
        edges: for 1, 2, … buckets the widths of groups in rising order.
        reason: why rows cannot be regrouped; empty when they can.
    """

    mask: int = 0
    lengths: tuple[Place, ...] = ()
    edges: tuple[tuple[int, ...], ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> RaggedPlan:
        """Rebuild a plan from :meth:`to_json`."""
        lengths = tuple((i, d) for i, d in row["lengths"])
        return cls(mask=row["mask"], lengths=lengths, edges=tuple(map(tuple, row["edges"])), reason=row["reason"])


@dataclass(frozen=True, slots=True)
class Group:
    """Some rows of a call.

    Attributes:
        rows: their places in the batch; shorter than the arrays when the last row was repeated to fill the group.
        arrays: their inputs, cut to the longest of them, ``ROWS`` rows each.
        shapes: the shapes they are padded to.
    """

    rows: npt.NDArray[np.intp]
    arrays: list[Array]
    shapes: tuple[tuple[int, ...], ...]


def plan_ragged(plan: BucketPlan, calls: Sequence[Sequence[Array]], outputs: Sequence[TensorSpec]) -> RaggedPlan:
    """Find the mask and good widths.

    Args:
        plan: the bucket plan of the same model.
        calls: arrays of example calls, in leaf order.
        outputs: output part of the signature.
    """
    batches = [arrays for arrays in calls if arrays[0].ndim and arrays[0].shape[0] > ROWS]
    if plan.reason:
        return RaggedPlan(reason=plan.reason)
    if not batches:
        return RaggedPlan(reason=f"no example has more than {ROWS} rows")
    if len(plan.axes) != 1 or plan.axes[0].outputs or len(dict(plan.axes[0].inputs)) < len(plan.axes[0].inputs):
        return RaggedPlan(reason="the padded length is not one dimension of the inputs that no output has")
    if any(not a.ndim or a.shape[0] != arrays[0].shape[0] for arrays in batches for a in arrays):
        return RaggedPlan(reason="an input does not have a row for each row of the batch")
    if any(not spec.shape or spec.shape[0] is not None for spec in outputs):
        return RaggedPlan(reason="an answer does not have a row for each row of the batch")
    lengths = plan.axes[0].inputs
    mask = next((i for i, d in lengths if d == 1 and _is_mask([arrays[i] for arrays in batches])), None)
    if mask is None:
        return RaggedPlan(reason="no input marks the padding at the end of each row by zeros")
    widths = [int(w) for arrays in batches for w in _widths(np.sort(row_lengths(arrays[mask])))]
    return RaggedPlan(mask=mask, lengths=lengths, edges=tuple(choose_edges(widths, count) for count in range(1, MAX_BUCKETS + 1)))


def row_lengths(mask: Array) -> npt.NDArray[np.intp]:
    """Return how many places of each row are real; zeros throughout when the mask is not one block of ones at the front."""
    real = mask != 0
    if (real[:, 1:] > real[:, :-1]).any():
        return np.zeros(len(mask), dtype=np.intp)
    lengths: npt.NDArray[np.intp] = real.sum(axis=1, dtype=np.intp)
    return lengths


class Regrouper:
    """Cuts calls into groups for one number of widths.

    Args:
        plan: a usable plan.
        count: number of widths, 1 to 4.
    """

    def __init__(self, plan: RaggedPlan, count: int) -> None:
        self._mask, self._edges = plan.mask, plan.edges[count - 1]
        self._lengths = dict(plan.lengths)

    def groups(self, arrays: Sequence[Array]) -> list[Group] | None:
        """Return the groups, or ``None`` for a call that must be answered whole: few rows, no clear mask, or too long."""
        if arrays[0].shape[0] <= ROWS:
            return None
        real = row_lengths(arrays[self._mask])
        if real.min() == 0 or real.max() > self._edges[-1]:
            return None
        order = np.argsort(real, kind="stable")
        return [self._group(arrays, order[start : start + ROWS], real) for start in range(0, len(order), ROWS)]

    def _group(self, arrays: Sequence[Array], rows: npt.NDArray[np.intp], real: npt.NDArray[np.intp]) -> Group:
        width = int(real[rows[-1]])
        edge = edge_over(self._edges, width)
        assert edge is not None, "groups() leaves what is wider than every edge whole"
        filled = np.concatenate([rows, np.repeat(rows[-1:], ROWS - len(rows))])
        parts, shapes = [], []
        for leaf, array in enumerate(arrays):
            dimension = self._lengths.get(leaf)
            part = array[filled]
            shape = list(part.shape)
            if dimension is not None:
                part = part[(slice(None),) * dimension + (slice(width),)]
                shape[dimension] = edge
            parts.append(part)
            shapes.append(tuple(shape))
        return Group(rows, parts, tuple(shapes))


def _is_mask(arrays: Sequence[Array]) -> bool:
    if any(a.ndim != 2 or a.dtype.kind not in "iub" or not np.isin(a, (0, 1)).all() for a in arrays):
        return False
    real = [row_lengths(a) for a in arrays]
    return all(r.min() > 0 for r in real) and any((r < a.shape[1]).any() for r, a in zip(real, arrays, strict=True))


def _widths(ordered: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the longest row of each group of rows in rising order."""
    return ordered[np.minimum(np.arange(ROWS - 1, len(ordered) + ROWS - 1, ROWS), len(ordered) - 1)]
