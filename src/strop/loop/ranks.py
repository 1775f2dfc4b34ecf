"""Several processes that train together, as torchrun starts them."""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from strop.contract.training import Samples
from strop.errors import TrainingError, UsageError
from strop.units import Bytes, Seconds


class Place(NamedTuple):
    """Where a process stands among those that were started together.

    Attributes:
        rank: its number.
        world: how many there are.
        local: its number on this machine.
    """

    rank: int
    world: int
    local: int


def place() -> Place:
    """Read it from the environment, as torchrun leaves it; a process started by itself is the only one."""
    return Place(*(int(os.environ.get(name, start)) for name, start in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))))


def device() -> str:
    """Return where this process trains, as torch writes it: on its own accelerator, or on the processor where there is none.

    Raises:
        UsageError: more processes were started on this machine than torch finds accelerators.
    """
    if not torch.cuda.is_available():
        return "cpu"
    local, count = place().local, torch.cuda.device_count()
    if local >= count:
        raise UsageError(
            f"process {local} of this machine has no accelerator of its own: torch finds {count}. Start one process per "
            f"accelerator, or set CUDA_VISIBLE_DEVICES= (empty) to train on the processor."
        )
    return f"cuda:{local}"


def check_sizes(model: int | None, pipeline: int | None, data: int | None) -> None:
    """Check that sizes of parallelism, as far as they were given, multiply to the number of processes.

    Args:
        model: processes that share each layer.
        pipeline: stages of layers.
        data: processes that share each batch.

    Raises:
        UsageError: a size is not positive, or the product is another number; the message holds the arithmetic.
    """
    given = {"model": model, "pipeline": pipeline, "data": data}
    sizes = {f"{name}_parallel_size": 1 if size is None else size for name, size in given.items()}
    if all(size is None for size in given.values()):
        return
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} must be at least 1, got {size}.")
    product, world = math.prod(sizes.values()), place().world
    if product != world:
        terms = " × ".join(f"{name} {size}" for name, size in sizes.items())
        raise UsageError(
            f"{terms} = {product}, but {world} {'process was' if world == 1 else 'processes were'} started; the sizes must "
            f"multiply to the number of processes."
        )


def join(backend: str, init_method: str, timeout: Seconds) -> None:
    """Meet the other processes, once and for the life of this one; parting and meeting again would race with slower ranks.

    Raises:
        TrainingError: they did not come within ``timeout``, or the backend is not there.
    """
    if dist.is_initialized():
        return
    try:
        dist.init_process_group(backend, init_method=init_method, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the {place().world} processes could not meet over {backend} ({error}). Start them with torchrun, and look whether "
            f"all of them are alive."
        ) from error
    atexit.register(dist.destroy_process_group)


def average(value: float, device: str) -> float:
    """Return the mean of a number over all ranks."""
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def own_part(batches: Callable[[int], Sequence[Samples]], rank: int, world: int) -> Callable[[int], Sequence[Samples]]:
    """Return each batch's part of this rank: every ``world``-th sample, so that lengths are spread evenly.

    A batch with fewer samples than ranks, as the last one can be, joins the one before it, for no rank may stand idle.
    """

    def parts(epoch: int) -> list[Samples]:
        whole: list[Samples] = []
        for batch in batches(epoch):
            if len(batch) < world and whole:
                whole[-1] = [*whole[-1], *batch]
            else:
                whole.append(batch)
        return [list(batch)[rank::world] for batch in whole]

    return parts


def plain_exchange(count: Callable[[Bytes], None]) -> Callable[[Any, Any], Any]:
    """Return the exchange that sums buckets in full precision; ``count`` is told the bytes handed to the collective."""

    def exchange(state: Any, bucket: Any) -> Any:
        buffer = bucket.buffer()
        count(buffer.nbytes)
        work = dist.all_reduce(buffer.div_(dist.get_world_size()), async_op=True)
        assert work is not None
        return work.get_future().then(lambda done: done.value()[0])

    return exchange
