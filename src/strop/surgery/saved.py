"""How many bytes autograd keeps alive for the backward pass. Counts storages, so it is exact and the same on every device."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from strop.units import Bytes


class SavedBytes:
    """Adds up what is saved for backward inside its context.

    Every storage counts once and whole, however many views of it are saved. What lives anyway (parameters, buffers,
    inputs) does not count. Counted tensors are held until the context is left, so no address is used twice meanwhile.

    Args:
        besides: tensors that live anyway.
    """

    def __init__(self, besides: Iterable[Tensor] = ()) -> None:
        self._besides = {_place(tensor) for tensor in besides}
        self._held: dict[int, Tensor] = {}
        # Detached, because an answer that holds itself by way of its own history would never be freed.
        self._hooks = saved_tensors_hooks(lambda tensor: self.add(tensor).detach(), lambda tensor: tensor)
        self.total: Bytes = 0

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hooks.__exit__(kind, error, trace)
        self._held.clear()

    def add(self, tensor: Any) -> Any:
        """Count a tensor that is kept, and return it."""
        if isinstance(tensor, Tensor) and (place := _place(tensor)) not in self._besides and place not in self._held:
            self._held[place] = tensor
            self.total += tensor.untyped_storage().nbytes()
        return tensor


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
