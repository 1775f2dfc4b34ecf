"""Tensors of the harness as arrays of tritonclient, and back."""

from __future__ import annotations

import numpy as np
from tritonclient.utils import triton_to_np_dtype


def array_of(datatype, shape, flat):
    """Return flat values as the array this client takes."""
    if datatype == "BYTES":
        return np.array([v.encode() for v in flat], dtype=object).reshape(shape)
    return np.array(flat, dtype=triton_to_np_dtype(datatype)).reshape(shape)


def equal(answer, model, batch):
    """Check an answer of an identity model."""
    for (_, _, shape, flat), name in zip(model.tensors(batch), model.outputs, strict=True):
        got = answer.as_numpy(name)
        assert got is not None, f"{name} is missing"
        assert list(got.shape) == shape, f"{name} has shape {list(got.shape)}, not {shape}"
        found = [v.decode() if isinstance(v, bytes) else v for v in got.ravel().tolist()]
        assert found == flat, f"{name} is {found[:6]}, not {flat[:6]}"
