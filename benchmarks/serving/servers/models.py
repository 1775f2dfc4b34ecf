"""The models every server of the comparison answers with: two whose time is known, so only the serving differs, and a bundle."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ALPHA, BETA = 0.020, 0.002
"""A batch of b takes ``ALPHA + BETA * b`` seconds of sleep: no processor is needed, so two cores are enough to compare."""

LONGEST = 64
"""Tokens of the longest sentence that is sent, rounded up."""

BUNDLE = "STROP_BENCHMARK_BUNDLE"
"""Environment variable that names the folder of the bundle."""


def sleep(batch: Sequence[Any]) -> list[Any]:
    """Take the known time, and give back what came."""
    time.sleep(ALPHA + BETA * len(batch))
    return list(batch)


def identity(batch: Sequence[Any]) -> list[Any]:
    """Give back what came."""
    return list(batch)


def bundle(batch: Sequence[dict[str, list[int]]]) -> list[Any]:
    """Answer sentences with the bundle: rows of tokens, padded to the longest of the batch."""
    import numpy as np

    longest = max(len(row["input_ids"]) for row in batch)
    padded = {name: np.zeros((len(batch), longest), dtype=np.int64) for name in ("input_ids", "attention_mask")}
    for place, row in enumerate(batch):
        for name, array in padded.items():
            array[place, : len(row[name])] = row[name]
    return np.asarray(_program()(**padded)).tolist()  # type: ignore[no-any-return]


@cache
def _program() -> Any:
    """Open the bundle in the process that runs it, and let it meet every length, as ``strop serve`` does before it is ready."""
    import numpy as np

    from strop.bundle import open_bundle

    program = open_bundle(Path(os.environ[BUNDLE]))
    for rows in (1, 2):
        for length in range(8, LONGEST + 1, 8):
            program(**dict.fromkeys(("input_ids", "attention_mask"), np.ones((rows, length), dtype=np.int64)))
    return program


MODELS: dict[str, Callable[[Sequence[Any]], list[Any]]] = {"sleep": sleep, "identity": identity, "bundle": bundle}


def asked(models: Collection[str] = MODELS.keys()) -> argparse.Namespace:
    """Read what every rival is started with.

    Args:
        models: which ``--model`` may be named.

    Returns:
        ``port``, ``model``, ``batch`` (requests) and ``wait`` (milliseconds).
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", choices=models, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--wait", type=int, default=0, help="milliseconds")
    return parser.parse_args()
