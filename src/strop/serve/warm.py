"""Getting a program ready: the times it was measured with, or a few quick ones taken now."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from strop.contract.engine import Program
from strop.contract.signature import Signature, TensorSpec
from strop.engines.ragged import RaggedPlan
from strop.serve.latency import Seed
from strop.serve.request import Bucket
from strop.serve.stack import EDGES, Stacker
from strop.units import Seconds

BUDGET: Seconds = 0.5
"""Time for measuring at start; what it does not reach is predicted from what it does."""
UNKNOWN = 32
"""Size tried for a dimension that varies without anything saying how."""
SMALL = 1
"""Calls of so many rows are made once before serving, at every length."""
REPEATS = 3
FIELDS = ("rows", "width", "seconds")


def recorded_seeds(latency: Mapping[str, Mapping[str, float]]) -> list[Seed]:
    """Read the times that a bundle's manifest holds: entries with ``rows``, ``width`` and ``seconds``; others are left alone."""
    return [
        Seed(width=int(row["width"]), rows=int(row["rows"]), seconds=float(row["seconds"]))
        for row in latency.values()
        if all(row.get(name, 0) > 0 for name in FIELDS)
    ]


def seeds_to_record(seeds: Iterable[Seed]) -> dict[str, dict[str, float]]:
    """Return what :func:`recorded_seeds` reads back."""
    return {f"{seed.rows} × width {seed.width}": {name: getattr(seed, name) for name in FIELDS} for seed in seeds}


def warm_up(program: Program, signature: Signature, stacker: Stacker) -> None:
    """Call every small size once: what an engine compiles for a shape it then has.

    All are called at once, because compiling keeps one core busy, and several lengths may wait for the same shape.

    Args:
        program: opened.
        signature: of the program.
        stacker: says which calls can share a batch.
    """
    calls = [_call(signature, stacker, *size) for size in _sizes(stacker, SMALL)]
    with ThreadPoolExecutor(len(calls)) as pool:
        for answer in [pool.submit(program, *args, **kwargs) for _, args, kwargs in calls]:
            answer.result()


def measured_seeds(
    program: Program,
    signature: Signature,
    stacker: Stacker,
    max_rows: int,
    *,
    budget: Seconds = BUDGET,
    clock: Callable[[], Seconds] = time.perf_counter,
) -> list[Seed]:
    """Time calls of zeros, the smallest first, until the budget is used; at least one size.

    The first call of a size is not counted: it may compile. Of the next ones the middle is taken.

    Args:
        program: opened.
        signature: of the program.
        stacker: says which calls can share a batch.
        max_rows: largest batch.
        budget: seconds.
        clock: seconds.
    """
    seeds: list[Seed] = []
    start = clock()
    for size in _sizes(stacker, max_rows):
        bucket, args, kwargs = _call(signature, stacker, *size)
        rows = size[0] if stacker.batchable else 1
        program(*args, **kwargs)
        times = []
        for _ in range(REPEATS):
            before = clock()
            program(*args, **kwargs)
            times.append(clock() - before)
        seeds.append(Seed(width=bucket.width, rows=rows, seconds=max(sorted(times)[REPEATS // 2], 1e-6)))
        if clock() - start > budget:
            break
    return seeds


def _sizes(stacker: Stacker, max_rows: int) -> Iterator[tuple[int, int]]:
    if not stacker.batchable:
        yield 1, UNKNOWN
        return
    counts = sorted({1, min(8, max_rows), max_rows})
    lengths = _lengths(stacker.padding) if stacker.padding else (UNKNOWN,)
    yield from sorted(((rows, length) for rows in counts for length in lengths), key=lambda size: (size[0] * size[1], size))


def _lengths(padding: RaggedPlan) -> tuple[int, ...]:
    """Return the lengths that rows will be padded to, up to the longest that the bundle was made with."""
    longest = max(edge for edges in padding.edges for edge in edges)
    return EDGES[: bisect_left(EDGES, longest) + 1]


def _call(signature: Signature, stacker: Stacker, rows: int, length: int) -> tuple[Bucket, Any, Any]:
    arrays = [_zeros(spec, rows, length, stacker, leaf) for leaf, spec in enumerate(signature.inputs)]
    bucket, _ = stacker.bucket(arrays)
    return bucket, *stacker.stack([arrays], bucket)


def _zeros(spec: TensorSpec, rows: int, length: int, stacker: Stacker, leaf: int) -> np.ndarray[Any, Any]:
    padded = dict(stacker.padding.lengths).get(leaf) if stacker.padding else None
    sizes = [length if place == padded else UNKNOWN if size is None else size for place, size in enumerate(spec.shape)]
    if stacker.batchable:
        sizes[0] = rows
    mask = stacker.padding is not None and leaf == stacker.padding.mask
    return (np.ones if mask else np.zeros)(sizes, dtype=spec.dtype)
