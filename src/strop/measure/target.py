"""What is measured, seen from inside its own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

Json = Any
"""A value that JSON can hold."""


@runtime_checkable
class Target(Protocol):
    """Something that can be called at named operating points.

    A target is built inside a worker process by a factory that is named ``"package.module:function"`` and called with one
    mapping of arguments read from JSON. It may additionally offer any of:

    * ``synchronize() -> None``: wait until work handed to an accelerator is done; called inside every timed call.
    * ``compile_events() -> int``: how often it has compiled something so far; warming goes on while it grows.
    * ``answer_digest() -> str``: digest of the answer of the latest ``run``, without running again.
    * ``run_variant(point, index, variant) -> None``: like ``run`` on an input of the same shape and kind that was never
      given before, derived from input ``index`` and the number ``variant``.
    * ``make_variants(point, index, variants) -> None``: called before, outside the clock, if deriving takes time.
    """

    @property
    def points(self) -> Mapping[str, int]:
        """Operating point → how many inputs it has; at least one point, each with at least one input."""

    def run(self, point: str, index: int) -> None:
        """Make one call with input ``index`` of ``point``. This is what is timed."""

    def digest(self, point: str, index: int) -> str:
        """Answer input ``index`` and return a digest of the answer's exact bytes, dtypes and structure."""

    def shapes(self, point: str, index: int) -> Json:
        """Answer input ``index`` and return the shapes of the answer's arrays, in order."""

    def call(self, method: str, arguments: Mapping[str, Json]) -> Json:
        """Do anything else by name, for instance an evaluation."""

    def close(self) -> None:
        """Give back what is held."""
