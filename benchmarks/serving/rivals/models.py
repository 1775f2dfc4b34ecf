"""The models every server of the comparison answers with; their time is known, so only the serving differs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

ALPHA, BETA = 0.020, 0.002
"""A batch of b takes ``ALPHA + BETA * b`` seconds of sleep: no processor is needed, so two cores are enough to compare."""


def sleep(batch: Sequence[Any]) -> list[Any]:
    """Take the known time, and give back what came."""
    time.sleep(ALPHA + BETA * len(batch))
    return list(batch)


def identity(batch: Sequence[Any]) -> list[Any]:
    """Give back what came."""
    return list(batch)


MODELS = {"sleep": sleep, "identity": identity}
