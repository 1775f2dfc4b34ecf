"""Front door of 06: batches of samples of similar length."""

from __future__ import annotations

from strop.instructions.data.i06_length_bucketing import dynamic_batching

__all__ = ["dynamic_batching"]
