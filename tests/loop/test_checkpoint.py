"""Checkpoints are whole or absent, belong to one training, and a full disk leaves the older ones alone."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from strop.errors import TrainingError
from strop.loop.checkpoint import Checkpoints

IDENTITY = {"model": "a", "world": 1}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_latest_comes_back_and_two_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", IDENTITY)
    assert checkpoints.latest() is None
    for step in (9, 10, 100):
        checkpoints.save(step, {"step": step, "w": torch.full((2,), float(step))})
    state = checkpoints.latest()
    assert state is not None and state["step"] == 100 and torch.equal(state["w"], torch.full((2,), 100.0))
    assert names(tmp_path / "c") == ["step-00000010.safetensors", "step-00000100.safetensors"]


def test_each_rank_has_its_own(tmp_path: Path) -> None:
    for rank in (0, 1):
        Checkpoints(tmp_path, IDENTITY, rank).save(5, {"rank": rank})
    assert [Checkpoints(tmp_path, IDENTITY, rank).latest() for rank in (0, 1)] == [{"rank": 0}, {"rank": 1}]


@pytest.mark.parametrize(("name", "value"), [("model", "b"), ("world", 2)])
def test_a_checkpoint_of_another_training_is_refused_by_what_differs(tmp_path: Path, name: str, value: object) -> None:
    Checkpoints(tmp_path, IDENTITY).save(1, {})
    with pytest.raises(TrainingError, match=f"belongs to another training .{name}: {IDENTITY[name]} then, {value} now"):
        Checkpoints(tmp_path, {**IDENTITY, name: value}).latest()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_checkpoint_is_said(tmp_path: Path, content: bytes) -> None:
    path = Checkpoints(tmp_path, IDENTITY).save(1, {"w": torch.ones(3)})
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"step-00000001\.safetensors is not a readable checkpoint"):
        Checkpoints(tmp_path, IDENTITY).latest()


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_beside_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, {"w": torch.ones(3)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(TrainingError, match=r"step-00000002.* cannot be written .*what was there before is intact.*--resume"):
            checkpoints.save(2, {"w": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["step-00000001.safetensors"]
    assert checkpoints.latest() is not None
