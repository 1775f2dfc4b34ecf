"""A program that doubles its input and misbehaves on demand; imports little, because processes of tests start with it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from strop.contract.engine import Program
from strop.contract.signature import Signature, TensorSpec

POISON, SHORT, HUNGRY, STUCK = 666.0, 777.0, 888.0, 999.0
"""Values in a row that make the program raise, answer a row less, run out of memory beside others, and hang."""


class Doubler(Program):
    """Doubles rows of four; counts its calls and remembers the rows of each.

    Args:
        seconds: time of a call.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.release = threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer."""
        (rows,) = args
        self.batches.append(len(rows))
        if self.seconds:
            time.sleep(self.seconds)
        if (rows == POISON).any():
            raise ValueError("planted, in /a/secret/place")
        if (rows == HUNGRY).any() and len(rows) > 2:
            raise MemoryError("planted")
        if (rows == STUCK).any():
            self.release.wait(30)
        answer = rows * np.float32(2)
        return answer[:-1] if (rows == SHORT).any() else answer


def plain_signature(*shape: int | None) -> Signature:
    """Return the signature of a program with one float32 input ``x`` and one output ``y``."""
    leaf = {"kind": "leaf", "index": 0}
    nothing = {"kind": "dict", "keys": [], "children": []}
    return Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
        input_tree={"kind": "list", "children": [{"kind": "list", "children": [leaf]}, nothing]},
        outputs=(TensorSpec(name="y", dtype="float32", shape=shape),),
        output_tree=leaf,
    )
