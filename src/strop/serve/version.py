"""One version of a model, ready to serve, and taking a newer one into service while the old one answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from strop.contract.signature import Signature, TensorSpec
from strop.errors import ArtefactError, StropError, UsageError
from strop.observe import Event, Level, Observer, silent
from strop.serve.call import wanted
from strop.serve.desk import Desk
from strop.serve.latency import LatencyModel
from strop.serve.problem import Problem
from strop.serve.stack import Stacker
from strop.serve.workers import Workers
from strop.units import show_seconds


@dataclass(frozen=True, slots=True)
class Version:
    """A model opened and warm.

    Attributes:
        workers: run its batches.
        signature: what it takes and gives.
        stacker: makes one call of many.
        latency: predicts its batches.
        engine: name of what runs it.
    """

    workers: Workers
    signature: Signature
    stacker: Stacker
    latency: LatencyModel
    engine: str


class Loader:
    """Takes newer versions into service, one at a time.

    Args:
        desk: whose workers are replaced.
        signature: what clients were told that the model takes and gives; no version may differ.
        load: opens what lies in the model's place now; runs in a thread of its own, beside the serving.
        hide: text in errors that clients must not see → what they see instead.
        observer: told how it went, with nothing hidden.
    """

    def __init__(
        self, desk: Desk, signature: Signature, load: Callable[[], Version], hide: dict[str, str], observer: Observer = silent
    ) -> None:
        self._desk, self._signature, self._load, self._hide, self._observer = desk, signature, load, hide, observer
        self._busy = False

    async def load(self) -> None:
        """Open the newer version beside the old one, and let it take the next batch. Batches on their way end on the old one.

        Raises:
            Problem: it was refused (400), could not be opened (500), or another is being opened (409); the old one stays.
        """
        if self._busy:
            raise Problem(409, "another version is being loaded.", retry=1.0)
        self._busy = True
        begun = self._desk.now()
        try:
            version = await asyncio.to_thread(self._open)
        except (StropError, OSError, RuntimeError, MemoryError) as error:
            self._desk.counts.loads["refused"] += 1
            text = f"the version on disk is not taken, the old one goes on: {error}"
            self._observer(Event("serve.load_refused", text, Level.WARNING))
            if not isinstance(error, ArtefactError | UsageError):
                raise Problem(500, "it could not be opened; the server's own log says why. The old version goes on.") from error
            words = str(error)
            for text, instead in self._hide.items():
                words = words.replace(text, instead)
            raise Problem(400, f"{words} The old version goes on.") from error
        finally:
            self._busy = False
        self._desk.swap(version.workers, version.stacker, version.latency)
        text = f"the version on disk serves after {show_seconds(self._desk.now() - begun)}"
        self._observer(Event("serve.loaded", text, Level.RESULT, {"engine": version.engine}))

    def _open(self) -> Version:
        version = self._load()
        reason = other_signature(self._signature, version.signature) or other_padding(self._desk.stacker, version.stacker)
        if reason:
            version.workers.close()
            raise ArtefactError(f"{reason} Restart the server to serve it.")
        return version


def other_signature(old: Signature, new: Signature) -> str:
    """Say how a signature differs from the one that clients know, or return the empty text."""
    for kind, before, after in (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs)):
        if [spec.name for spec in before] != [spec.name for spec in after]:
            return f"it has the {kind}s {_names(after)}; {_names(before)} are served."
        for was, now in zip(before, after, strict=True):
            if was != now:
                return f"its {kind} {was.name!r} is {now.dtype} {wanted(now)}; {was.dtype} {wanted(was)} is served."
    return "" if old == new else "its inputs or outputs are arranged otherwise."


def other_padding(old: Stacker, new: Stacker) -> str:
    """Say that rows are padded otherwise than those that wait already were, or return the empty text."""
    before, after = ((s.padding.mask, s.padding.lengths) if s.padding else None for s in (old, new))
    return "" if before == after else "its rows may be padded otherwise than those that wait already."


def _names(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(spec.name for spec in specs)
