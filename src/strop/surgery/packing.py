"""What autograd saves for backward, kept in fewer bits until backward asks for it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from strop.errors import TrainingError
from strop.surgery.codes import Code
from strop.units import Bytes

Format = Literal["bfloat16", "float16", "int8"]
"""How a number is kept: 8 or 11 significant bits of its own, or a multiple of its group's scale."""

EIGHT = Code(8)


class Packing:
    """Packs what is saved for backward inside its context; backward unpacks it, in the context or after it.

    A storage is packed once and whole, however many views of it are saved, and again after it was changed in place. What
    lives anyway gains nothing and stays as it is, and so do integers, small storages, numbers of 16 bits (among them the
    copies of weights that automatic casting makes), and a storage with a number that the format cannot hold: an infinity,
    for instance in a mask, or for float16 anything beyond 65,504.

    Args:
        form: how numbers are kept.
        besides: tensors that live anyway: parameters, buffers, inputs.
        smallest: storages of fewer bytes are left alone.

    Attributes:
        packed: storages packed.
        freed: bytes no longer kept.
    """

    def __init__(self, form: Format, besides: Iterable[Tensor] = (), smallest: Bytes = 0) -> None:
        self._form, self._smallest = form, smallest
        self._besides = {tensor.untyped_storage().data_ptr() for tensor in besides}
        # By weak references, since the address of a storage that was packed and freed is soon another's.
        self._seen: dict[tuple[StorageWeakRef, int, torch.dtype], _Packed | None] = {}
        self._hooks = saved_tensors_hooks(self._pack, _unpack)
        self.packed, self.freed = 0, 0

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hooks.__exit__(kind, error, trace)
        self._seen.clear()  # from here on backward alone holds what was packed

    def _pack(self, tensor: Tensor) -> _Kept | _View:
        found = self._found(tensor) if self._gains(tensor) else None
        if found is None:
            return _Kept(tensor.detach(), tensor._version)  # detached, or an answer would hold itself by its own history
        return _View(found, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def _gains(self, tensor: Tensor) -> bool:
        plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided
        if not plain or not tensor.is_floating_point() or tensor.element_size() < 4:
            return False
        storage = tensor.untyped_storage()
        return storage.nbytes() >= max(self._smallest, 1) and storage.data_ptr() not in self._besides

    def _found(self, tensor: Tensor) -> _Packed | None:
        storage = tensor.untyped_storage()
        key = (StorageWeakRef(storage), tensor._version, tensor.dtype)  # type: ignore[no-untyped-call]
        if key not in self._seen:
            self._seen[key] = made = _packed(tensor, self._form)
            if made is not None:
                self.packed, self.freed = self.packed + 1, self.freed + storage.nbytes() - made.content.nbytes
        return self._seen[key]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A saved tensor as it is, and how often it had been changed in place: autograd itself looks no longer."""

    tensor: Tensor
    version: int


@dataclass(frozen=True, slots=True)
class _Packed:
    """A storage in fewer bits: 16-bit numbers, or a message of :data:`EIGHT`."""

    content: Tensor
    count: int
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _View:
    """A saved tensor as a place in a packed storage."""

    whole: _Packed
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def _packed(tensor: Tensor, form: Format) -> _Packed | None:
    """Pack the whole storage of a tensor; ``None`` where the format cannot hold a number of it."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    whole = tensor.detach().as_strided((count,), (1,), 0)
    if form == "int8":
        content = EIGHT.encode(whole)
        telling = EIGHT.scales(content)
    else:
        content = telling = whole.to(getattr(torch, form))
    # One pass: a sum is finite only if every number is.
    return _Packed(content, count, tensor.dtype) if math.isfinite(float(telling.sum(dtype=torch.float32))) else None


def _unpack(kept: _Kept | _View) -> Tensor:
    if isinstance(kept, _Kept):
        if kept.tensor._version != kept.version:
            raise TrainingError(
                f"a tensor of shape {list(kept.tensor.shape)} that backward needs was changed in place after it was saved, so "
                f"gradients would be wrong. Change a copy: x = x + y instead of x += y."
            )
        return kept.tensor
    whole, place = kept.whole, (kept.shape, kept.stride, kept.offset)
    if whole.content.dtype != torch.uint8:
        return whole.content.as_strided(*place).to(whole.dtype)  # decodes what is asked for, not the whole storage
    part = EIGHT.decode(whole.content)[: whole.count].to(whole.dtype).as_strided(*place)
    return part if part.numel() == whole.count else part.clone()  # or each part would hold the whole
