"""Where a model answers: on the processor, or on an accelerator that torch can use."""

from __future__ import annotations

import re

from strop.errors import WorkloadError

PROCESSOR = "cpu"


def check_device(device: object) -> None:
    """Check how a device is written; whether it is there is another question, see :func:`absent`.

    Raises:
        WorkloadError: it is neither ``cpu``, ``cuda`` nor ``cuda:N``.
    """
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:(0|[1-9][0-9]*))?", device):
        raise WorkloadError(f"device must be cpu, cuda or cuda:N, for instance cuda:1; got {device!r}.")


def place(device: str) -> int:
    """Return an accelerator's number among those that torch finds."""
    return int(device.partition(":")[2] or 0)


def absent(device: str) -> str | None:
    """Say in words that torch finds no such device here, or return ``None``. Torch is imported for accelerators only."""
    if device == PROCESSOR:
        return None
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place(device) < count:
        return None
    return f"{device} is asked for, and torch finds {count or 'no'} CUDA device{'s' * (count != 1)} here"


def processor_only(what: str, device: str) -> str | None:
    """Return the reason to decline what only processors can do where a model answers elsewhere, or ``None``."""
    return None if device == PROCESSOR else f"{what} runs on the processor, and this workload is on {device}"
