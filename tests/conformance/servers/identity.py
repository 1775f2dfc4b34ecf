"""Workloads whose model answers with what it was asked, one input per datatype: what the suite needs of `strop serve`.

strop apply tests/conformance/servers/identity.yaml tests/conformance/servers/identity.py:many --out many
strop serve many --workload tests/conformance/servers/identity.py:many
pytest tests/conformance --url http://127.0.0.1:8080 --grpc 127.0.0.1:9000 --models many
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import strop

DTYPES = (
    torch.float32, torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.float16, torch.float64,
)  # fmt: skip


class Identity(nn.Module):
    """Answers with its inputs."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Answer a copy of each."""
        return tuple(tensor.clone() for tensor in tensors)


def workload(dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.int64)) -> strop.InferenceWorkload:
    """Two datatypes that every client has; any number of rows of any length."""
    examples = [tuple(torch.zeros(rows, length, dtype=dtype) for dtype in dtypes) for rows, length in ((1, 2), (3, 5))]
    return strop.InferenceWorkload(
        name="identity", model=Identity, inputs={"any": examples}, quality=strop.unjudged("only the protocol is looked at")
    )


def many() -> strop.InferenceWorkload:
    """Every datatype that ``strop serve`` knows."""
    return workload(DTYPES)
