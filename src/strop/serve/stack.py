"""From the calls of a batch to one call of the program, and from its answer to one answer each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from strop.contract.pytree import Spec, flatten, to_numpy, unflatten
from strop.contract.signature import Call, Signature
from strop.engines.buckets import edge_over
from strop.engines.ragged import RaggedPlan
from strop.errors import ArtefactError, StropError
from strop.serve.call import Array
from strop.serve.problem import bad
from strop.serve.request import Bucket
from strop.units import Ratio

EDGES = tuple(sorted({round(base * 2**power) for power in range(3, 15) for base in (1, 1.5)}))
"""Lengths that rows are padded to: each at most a half longer than the one before, so that few shapes are ever run."""
SHAPES = 1024
"""Shapes of calls whose bucket is remembered; clients send few different ones."""


class WrongAnswerError(StropError):
    """The program answered with other rows than it was asked for; giving them out would mix up clients."""


class Stacker:
    """Stacks calls along their first dimension where the signature allows it.

    Args:
        signature: inputs and outputs.
        padding: where rows may be padded, found when the bundle was made, or ``None``: then only equal shapes share a batch.
    """

    def __init__(self, signature: Signature, padding: RaggedPlan | None = None) -> None:
        specs = (*signature.inputs, *signature.outputs)
        self.batchable = all(spec.shape and spec.shape[0] is None for spec in specs)
        self.padding = padding if padding is not None and not padding.reason and self.batchable else None
        self._tree, self._outputs = signature.input_tree, len(signature.outputs)
        plain = [{"kind": "leaf", "index": place} for place in range(len(signature.inputs))]
        self._plain = _positional(signature.input_tree) == plain
        self._names = [spec.name for spec in signature.inputs]
        self._lengths = dict(self.padding.lengths) if self.padding else {}
        self._known = lru_cache(maxsize=SHAPES)(self._bucket_of)

    def bucket(self, arrays: Sequence[Array]) -> tuple[Bucket, int]:
        """Return the bucket of a call, and its rows; a call that cannot be stacked is a row by itself.

        Raises:
            Problem: inputs that must agree in a size do not.
        """
        return self._known(tuple([array.shape for array in arrays]))

    def _bucket_of(self, shapes: tuple[tuple[int, ...], ...]) -> tuple[Bucket, int]:
        if not self.batchable:
            return Bucket(shapes, sum(map(math.prod, shapes))), 1
        rows = shapes[0][0]
        if any(shape[0] != rows for shape in shapes):
            raise bad(f"the inputs {', '.join(self._names)} must have equally many rows.")
        if not self._lengths:
            return Bucket(tuple(shape[1:] for shape in shapes), sum(map(math.prod, shapes)) // rows), rows
        lengths = {shapes[leaf][dimension] for leaf, dimension in self._lengths.items()}
        if len(lengths) > 1:
            raise bad(f"the inputs {', '.join(self._names[leaf] for leaf in self._lengths)} must have the same length.")
        length = lengths.pop()
        padded = edge_over(EDGES, length) or length
        group = [
            tuple(padded if self._lengths.get(leaf) == d else size for d, size in enumerate(shape) if d)
            for leaf, shape in enumerate(shapes)
        ]
        return Bucket(tuple(group), padded), rows

    def stack(self, calls: Sequence[Sequence[Array]], bucket: Bucket) -> Call:
        """Return one call for all of them."""
        if not self.batchable:
            return self._call(calls[0])
        if len(calls) == 1 and tuple([a.shape[1:] for a in calls[0]]) == bucket.group:
            return self._call(calls[0])
        rows = sum(len(arrays[0]) for arrays in calls)
        leaves = []
        for leaf, first in enumerate(calls[0]):
            shape = bucket.group[leaf]  # type: ignore[index]  # a tuple of shapes, made above
            whole = np.zeros((rows, *shape), dtype=first.dtype)
            start = 0
            for arrays in calls:
                part = arrays[leaf]
                whole[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
                start += len(part)
            leaves.append(whole)
        return self._call(leaves)

    def padded_share(self, calls: Sequence[Sequence[Array]], bucket: Bucket) -> Ratio:
        """Return the share of a batch's elements that are there only to make its rows equally long."""
        if not self._lengths:
            return 0.0
        rows = sum(len(arrays[0]) for arrays in calls)
        given = sum(a.size for arrays in calls for a in arrays)
        return 1 - given / (rows * sum(map(math.prod, bucket.group)))  # type: ignore[call-overload]  # a tuple of shapes

    def split(self, answer: Any, rows: Sequence[int]) -> list[list[Array]]:
        """Return the outputs of each call.

        Raises:
            WrongAnswerError: the answer does not hold exactly the rows that were asked for.
        """
        leaves = [answer] if type(answer) is np.ndarray else [to_numpy(leaf) for leaf in flatten(answer)[0]]
        if len(leaves) != self._outputs:
            raise WrongAnswerError(f"{len(leaves)} outputs came, the signature has {self._outputs}.")
        if not self.batchable:
            return [leaves]
        total = sum(rows)
        for leaf in leaves:
            if not leaf.ndim or len(leaf) != total:
                raise WrongAnswerError(f"outputs of shape {[leaf.shape for leaf in leaves]} came for {total} rows.")
        if len(rows) == 1:
            return [leaves]
        cuts = np.cumsum([0, *rows])
        return [[leaf[start:end] for leaf in leaves] for start, end in itertools.pairwise(cuts)]

    def _call(self, leaves: Sequence[Array]) -> Call:
        if self._plain:
            return tuple(leaves), {}
        args, kwargs = unflatten(self._tree, leaves)
        return tuple(args), kwargs


def _positional(tree: Spec) -> list[Spec] | None:
    """Return the arguments of a call that has no keywords."""
    children = tree.get("children")
    return children[0]["children"] if children and not children[1]["children"] else None


def read_padding(artefact: Path) -> RaggedPlan | None:
    """Return where a bundle's rows may be padded, or ``None`` when nobody found out.

    Raises:
        ArtefactError: the record is damaged.
    """
    from strop.engines.calls import read_settings

    if not (artefact / "engine.json").is_file():
        return None
    row = read_settings(artefact).get("ragged")
    try:
        return RaggedPlan.from_json(row) if row is not None else None
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError("the bundle's record of padding is damaged. Make the bundle again.") from error
