"""What a client sends for the inputs of a model, checked and made into arrays; the same on every front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strop.contract.signature import Signature, TensorSpec
from strop.serve.call import Array, check_shape, shown
from strop.serve.datatypes import OF_NUMPY
from strop.serve.limits import Limits
from strop.serve.problem import bad

SMALL = 64
"""Elements up to which a sum in plain Python is quicker than numpy's look at each."""
_MOST = {itemsize: float(np.finfo(f"f{itemsize}").max) for itemsize in (2, 4, 8)}
_FITTING = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}


@dataclass(frozen=True, slots=True)
class Slot:
    """An input of the signature.

    Attributes:
        place: in the signature.
        spec: of the signature.
        dtype: numpy's.
        datatype: the protocol's name of it.
    """

    place: int
    spec: TensorSpec
    dtype: np.dtype[Any]
    datatype: str


class Inputs:
    """The inputs of one model by name.

    Args:
        signature: of the model.
        limits: bounds on what is read.
    """

    def __init__(self, signature: Signature, limits: Limits) -> None:
        self._limits = limits
        self._slots = {
            spec.name: Slot(place, spec, np.dtype(spec.dtype), OF_NUMPY[spec.dtype])
            for place, spec in enumerate(signature.inputs)
        }
        self.names = ", ".join(self._slots)

    def empty(self, count: int) -> list[Array | None]:
        """Return places for the arrays of a request that names ``count`` inputs.

        Raises:
            Problem: they are too many.
        """
        if count > self._limits.tensors:
            raise bad(f"{count} inputs came; at most {self._limits.tensors} are read.")
        return [None] * len(self._slots)

    def claim(
        self, found: Sequence[Array | None], name: object, datatype: object, shape: object
    ) -> tuple[Slot, tuple[int, ...], int]:
        """Return where an input belongs, its shape and number of elements, before its data is looked at.

        Raises:
            Problem: the model has no such input, it came before, or datatype or shape are not the model's.
        """
        slot = self._slots.get(name) if isinstance(name, str) else None
        if slot is None:
            raise bad(f"there is no input {shown(name)!r}; the model takes {self.names}.")
        if found[slot.place] is not None:
            raise bad(f"input {name!r} came twice.")
        if datatype != slot.datatype:
            raise bad(f"input {name!r} is {slot.datatype}; the datatype {shown(datatype)} came.")
        return slot, *check_shape(slot.spec, shape, self._limits)

    def whole(self, found: Sequence[Array | None]) -> list[Array]:
        """Return the arrays when none is missing.

        Raises:
            Problem: one is.
        """
        arrays = [array for array in found if array is not None]
        if len(arrays) < len(found):
            missing = next(name for name, slot in self._slots.items() if found[slot.place] is None)
            raise bad(f"the input {missing!r} is missing.")
        return arrays


def from_bytes(slot: Slot, shape: tuple[int, ...], count: int, size: object, rest: memoryview) -> Array:
    """Return an array over the first ``size`` bytes of ``rest``: little-endian, row-major; nothing is copied.

    Raises:
        Problem: the size is not what shape and datatype take, fewer bytes came, or a BOOL is neither 0 nor 1.
    """
    expected, name = count * slot.dtype.itemsize, slot.spec.name
    if type(size) is not int or size != expected:
        raise bad(f"input {name!r}: {shown(size)} bytes are given for it, but its shape takes {expected}.")
    if len(rest) < expected:
        raise bad(f"input {name!r}: {expected} bytes were announced, {len(rest)} came.")
    if slot.dtype.kind == "b" and np.frombuffer(rest[:expected], np.uint8).max() > 1:
        raise bad(f"input {name!r}: a BOOL is a byte of 0 or 1.")
    return np.frombuffer(rest[:expected], slot.dtype.newbyteorder("<")).reshape(shape)


def from_list(slot: Slot, shape: tuple[int, ...], count: int, data: object) -> Array:
    """Return an array of a list of numbers, flat or nested as the shape.

    Raises:
        Problem: the numbers are others than shape and datatype say; nothing is converted silently.
    """
    name, dtype = slot.spec.name, slot.dtype
    if not isinstance(data, list):
        raise bad(f"input {name!r} needs data, a list, or binary_data_size in its parameters.")
    try:
        array = np.array(data)
        if slot.datatype == "UINT64" and array.dtype.kind == "f" and all(type(v) is int for v in np.array(data, object).flat):
            array = np.array(data, dtype)  # numpy reads the upper half of this type among small numbers as floats
    except (ValueError, OverflowError) as error:
        raise bad(f"input {name!r}: data is not a regular array of numbers within {slot.datatype}.") from error
    if array.size != count or (array.ndim > 1 and array.shape != shape):
        raise bad(f"input {name!r}: data holds {shown(list(array.shape))} elements, but its shape is {shown(list(shape))}.")
    if array.dtype.kind not in _FITTING[dtype.kind]:
        raise bad(f"input {name!r}: data holds something that is no {slot.datatype}; nothing is converted silently.")
    if array.dtype == dtype:
        return array.reshape(shape)
    if dtype.kind == "f" and within(array, _MOST[dtype.itemsize]):
        return array.astype(dtype).reshape(shape)
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if (dtype.kind == "f" and not np.isfinite(converted).all()) or (dtype.kind in "iu" and (converted != array).any()):
        raise bad(f"input {name!r}: data holds values outside of {slot.datatype}.")
    return converted.reshape(shape)


def within(array: Array, most: float = _MOST[8]) -> bool:
    """Tell, for little, whether every float of a small array is finite and at most ``most``; ``False`` says nothing.

    The root of the sum of squares is at least each of them, and is not finite where one of them is not.
    """
    return array.dtype.kind == "f" and array.size <= SMALL and math.hypot(*array.ravel().tolist()) <= most
