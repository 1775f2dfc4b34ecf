"""What clients may ask for; on by default."""

from __future__ import annotations

from dataclasses import dataclass

from strop.units import Bytes, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a client may send and on what it may hold open.

    Attributes:
        body: bytes of a request's body.
        bodies: bytes of all bodies held at once.
        pieces: parts that a body of unknown length may come in, beyond one per KiB.
        elements: elements of a tensor.
        tensors: tensors of a request.
        name: characters of an identifier.
        header_wait: seconds a client may take for its headers.
        body_wait: seconds a client may take for its body.
        connections: requests handled at once.
        drain: seconds that requests already taken have once the server was told to stop.
    """

    body: Bytes = 64 << 20
    bodies: Bytes = 1 << 30
    pieces: int = 1024
    elements: int = 1 << 26
    tensors: int = 64
    name: int = 256
    header_wait: Seconds = 10.0
    body_wait: Seconds = 30.0
    connections: int = 4096
    drain: Seconds = 30.0
