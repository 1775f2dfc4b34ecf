"""Names of element types in the Open Inference Protocol."""

from __future__ import annotations

from types import MappingProxyType

OF_NUMPY = MappingProxyType(
    {
        "bool": "BOOL",
        "uint8": "UINT8",
        "uint16": "UINT16",
        "uint32": "UINT32",
        "uint64": "UINT64",
        "int8": "INT8",
        "int16": "INT16",
        "int32": "INT32",
        "int64": "INT64",
        "float16": "FP16",
        "float32": "FP32",
        "float64": "FP64",
    }
)
"""numpy's name → the protocol's. Signatures hold no bfloat16 (numpy lacks it; it is seen as float32) and no strings."""
