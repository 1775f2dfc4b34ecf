"""Check a run's record without its model."""

from __future__ import annotations

from pathlib import Path

from strop.ledger.verify import Check, verify_ledger


def verify(run: str | Path) -> tuple[Check, ...]:
    """Recompute every verdict of a run from its raw samples, and check every digest.

    Args:
        run: a run directory.

    Returns:
        Every check made; the run holds when none of them has a problem.

    Raises:
        RunDirectoryError: the folder does not hold a run.
    """
    return verify_ledger(Path(run))
