"""Real Prometheus. Where it is absent a test is skipped in words that continuous integration looks for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.debian import ProgramAbsentError, prometheus

Promtool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def prometheus_folder() -> Path:
    """Where ``prometheus`` and ``promtool`` lie."""
    try:
        return prometheus()
    except ProgramAbsentError as error:
        pytest.skip(f"real data absent: {error}")


@pytest.fixture(scope="session")
def promtool(prometheus_folder: Path) -> Promtool:
    """Runs promtool."""

    def run(*arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(prometheus_folder / "promtool"), *map(str, arguments)]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)

    return run
