"""From the processor's memory to an accelerator and back, around a forward that runs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strop.contract.device import PROCESSOR, absent, check_device
from strop.errors import ArtefactError, WorkloadError

if TYPE_CHECKING:
    from torch import Tensor

Forward = Callable[[Sequence["Tensor"]], list[Any]]
"""A model as a function from the tensors of a call to those of its answer, both in signature order."""


def hosted(forward: Forward, device: str) -> Forward:
    """Return ``forward``, which runs on ``device``, as a function between tensors of the processor's memory.

    Copying an answer back waits until it is there, so that a call has ended when it returns.
    """
    import torch

    def answer(leaves: Sequence[Tensor]) -> list[Any]:
        with torch.cuda.device(device):
            return [to_host(output) for output in forward([leaf.to(device) for leaf in leaves])]

    return answer


def to_host(output: Any, copy: bool = False) -> Any:
    """Return a tensor in the processor's memory, with ``copy`` in any case a new one; anything else as it is."""
    return output.to(PROCESSOR, copy=copy) if hasattr(output, "device") and hasattr(output, "requires_grad") else output


def device_of(settings: Mapping[str, Any]) -> str:
    """Return the device that an artefact was prepared for, after making sure that it is here.

    Raises:
        ArtefactError: it is not, or is no device.
    """
    device = settings.get("device", PROCESSOR)
    check_present(device)
    return str(device)


def check_present(device: object) -> None:
    """Check that what was prepared for a device can be opened here.

    Raises:
        ArtefactError: torch finds no such device, or the name is none.
    """
    try:
        check_device(device)
    except WorkloadError as error:
        raise ArtefactError(f"the artefact names no device that strop knows: {error} Prepare it again.") from error
    if problem := absent(str(device)):
        raise ArtefactError(
            f"{problem}. It was prepared for {device}: open it where there is one (CUDA_VISIBLE_DEVICES can hide it), or prepare "
            f"it again from the workload with device='cpu'."
        )
