from __future__ import annotations

import os

import pytest
import torch

from strop.engines.threads import allowed_cores, check_threads, hold_cores
from strop.errors import UsageError


def test_zero_means_all_cores_this_process_may_use() -> None:
    assert check_threads(0) == len(allowed_cores()) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("threads", [-1, 4096])
def test_more_than_there_are_and_less_than_none_are_refused(threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads={threads}"):
        check_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_threads_and_binding_are_held_and_put_back() -> None:
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    release = hold_cores(1, pin=True)
    assert torch.get_num_threads() == 1 and os.sched_getaffinity(0) == {min(cores)}
    release()
    assert torch.get_num_threads() == threads and os.sched_getaffinity(0) == cores
