"""Checkpoints: one safetensors file each, with the state's form as JSON in its header. No pickle."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file, save_model
from torch import nn

from strop.errors import TrainingError
from strop.loop.state import packed, unpacked

KEPT = 2
"""Checkpoints that stay: the latest, and one before it should the disk damage that."""


class Checkpoints:
    """The checkpoints of one training in a folder, ``step-00000100.safetensors`` each.

    Args:
        folder: made when the first one is saved.
        identity: what must be the same for a checkpoint to be continued from (model, data, world …): name → value.
        rank: each rank has files of its own.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], rank: int = 0) -> None:
        self._folder, self._identity = folder, dict(identity)
        self._suffix = f".rank{rank}.safetensors" if rank else ".safetensors"

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after ``step``; a crash or a full disk at any moment leaves the older checkpoints as they are.

        Raises:
            TrainingError: it cannot be written.
        """
        path = self._folder / f"step-{step:08d}{self._suffix}"
        tensors, form = packed(state)
        _write(path, lambda to: save_file(tensors, to, {"form": json.dumps(form), "identity": json.dumps(self._identity)}))
        for old in self._paths()[:-KEPT]:
            old.unlink()
        return path

    def latest(self) -> dict[str, Any] | None:
        """Return the newest state, or ``None`` where none was saved.

        Raises:
            TrainingError: it is damaged, or belongs to another training; the message says what differs.
        """
        paths = self._paths()
        return self._read(paths[-1]) if paths else None

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("step-*") if path.name.partition(".")[2] == self._suffix[1:])

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            with safe_open(path, framework="pt") as stream:
                identity = json.loads(stream.metadata()["identity"])
                form = json.loads(stream.metadata()["form"])
                state: dict[str, Any] = unpacked(form, {name: stream.get_tensor(name) for name in stream.keys()})  # noqa: SIM118
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise TrainingError(
                f"{path} is not a readable checkpoint ({error}). Remove it to continue from the one before."
            ) from error
        wanted = json.loads(json.dumps(self._identity))
        differing = [f"{k}: {identity.get(k)} then, {wanted.get(k)} now" for k in wanted if identity.get(k) != wanted.get(k)]
        if differing:
            raise TrainingError(
                f"{path.name} belongs to another training ({'; '.join(differing)}). Choose another --out, or undo the change."
            )
        return state


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's weights, whole or not at all; ``safetensors.torch.load_model`` reads them back.

    Raises:
        TrainingError: they cannot be written.
    """
    _write(path, lambda to: save_model(model, str(to)))


def _write(path: Path, save: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(partial)
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):  # where not even the folder could be made there is nothing to remove
            partial.unlink(missing_ok=True)
        raise TrainingError(
            f"{path.name} cannot be written ({error}); what was there before is intact. Free some space and continue "
            f"with --resume."
        ) from error


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
