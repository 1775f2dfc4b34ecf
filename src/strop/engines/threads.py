"""How many cores torch uses in this process, held while a program is open."""

from __future__ import annotations

import os
from collections.abc import Callable

from strop.errors import UsageError


def hold_cores(threads: int, pin: bool) -> Callable[[], None]:
    """Let torch use ``threads`` cores (0 = all this process may use) and bind the process to them when ``pin`` is set.

    Both are settings of the whole process. OpenMP threads that already run keep their former cores, so a program that
    pins is opened before anything else computes.

    Returns:
        A function that puts the former settings back.

    Raises:
        UsageError: more threads are asked than the process has cores.
    """
    import torch

    cores = allowed_cores()
    count = check_threads(threads)
    former = torch.get_num_threads()
    torch.set_num_threads(count)
    if pin:
        os.sched_setaffinity(0, cores[:count])

    def release() -> None:
        torch.set_num_threads(former)
        if pin:
            os.sched_setaffinity(0, cores)

    return release


def allowed_cores() -> list[int]:
    """Return the numbers of the cores this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def check_threads(threads: int) -> int:
    """Return how many cores ``threads`` means: 0 stands for all this process may use.

    Raises:
        UsageError: more threads are asked than the process has cores, or fewer than none.
    """
    cores = len(allowed_cores())
    if not 0 <= threads <= cores:
        raise UsageError(f"threads={threads} was asked; this process may use {cores} cores. Use 0 for all of them.")
    return threads or cores
