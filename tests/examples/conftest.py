"""Real data for the example tests. Where it is absent the test is skipped in words that continuous integration looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from examples.data import DataAbsentError


@contextmanager
def skipping() -> Iterator[None]:
    try:
        yield
    except DataAbsentError as error:
        pytest.skip(f"real data absent: {error}")


@pytest.fixture(scope="session")
def real() -> Callable[[Callable[[], object]], object]:
    """Calls a function that needs real data."""

    def call(function: Callable[[], object]) -> object:
        with skipping():
            return function()

    return call
