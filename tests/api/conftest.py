"""Every test of a verb has a place of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _apart(place: Path) -> None:
    """Nothing is left for the next test."""
