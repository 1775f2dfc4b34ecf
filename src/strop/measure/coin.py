"""The coin that orders each pair: counter-based, so that it can be logged, repeated and checked.

A coin depends on nothing but the seed, the name of the comparison and the number of the pair. No state is kept, so a
resumed run tosses the same coins, and ``verify`` can toss them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from strop.measure.result import Pair
from strop.units import Seconds


def coin(seed: int, comparison: str, index: int) -> bool:
    """Return whether the candidate runs first in pair ``index`` of ``comparison``."""
    return bool(_draw(seed, "coin", comparison, index) & 1)


def jitter(seed: int, comparison: str, index: int, limit: Seconds = 0.02) -> Seconds:
    """Return the idle time before pair ``index``, uniform in ``[0, limit)`` seconds.

    A random pause keeps the pairs from falling into step with periodic work on the machine.
    """
    return limit * _draw(seed, "jitter", comparison, index) / 2**64


def coins_match(seed: int, comparison: str, pairs: Iterable[Pair]) -> bool:
    """Return whether every pair ran in the order that its coin asked for."""
    return all(pair.candidate_first == coin(seed, comparison, pair.index) for pair in pairs)


def _draw(seed: int, purpose: str, comparison: str, index: int) -> int:
    key = hashlib.blake2b(str(seed).encode(), digest_size=32).digest()
    text = f"{purpose}\x00{comparison}\x00{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, key=key, digest_size=8).digest(), "big")
