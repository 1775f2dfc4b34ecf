"""A doubler for processes of its own: rows can make it end its process, and opening it can fail."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from strop.errors import ArtefactError
from strop.serve.latency import Seed
from strop.serve.opened import Opened
from tests.serve.doubler import Doubler, plain_signature

KILLED, SEGFAULT, LEFT, ASLEEP = 111.0, 222.0, 333.0, 444.0
"""Values in a row that end the process by SIGKILL, by a fault, by leaving, and that make it hang where no signal is handled."""
FACTORY = "tests.serve.faulty:opened"


class Faulty(Doubler):
    """A doubler that can take its process with it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer, or end."""
        (rows,) = args
        if (rows == KILLED).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (rows == SEGFAULT).any():
            ctypes.string_at(0)
        if (rows == LEFT).any():
            os._exit(3)
        if (rows == ASLEEP).any():
            time.sleep(600)
        return super().__call__(*args, **kwargs)


class Tripler(Faulty):
    """Another version of the model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer, or end."""
        return super().__call__(*args, **kwargs) * np.float32(1.5)


def opened(seconds: float = 0.0, *, first: str = "", version: int = 1, damaged: bool = False) -> Opened:
    """Return a program that is ready.

    Args:
        seconds: time of a call.
        first: file that the first to come makes and opens with; all later ones end while opening.
        version: 1 doubles, 2 triples.
        damaged: it cannot be opened.
    """
    if damaged:
        raise ArtefactError("artefact/x is damaged: planted.")
    if first and Path(first).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if first:
        Path(first).touch()
    program = (Faulty, Tripler)[version - 1](seconds)
    return Opened(program, plain_signature(None, 4), (Seed(width=4, rows=1, seconds=max(seconds, 2e-3)),))
