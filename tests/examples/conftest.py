"""Real data for the example tests. Where it is absent the test is skipped in words that continuous integration looks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from examples.data import DataAbsentError


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Batches of a real model are large enough for threads to pay."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(before)


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
