"""Workload files, their data on disk and workshops; every path holds a space and Chinese characters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from strop.contract.workload import Workload
from strop.instructions.inference.i31_kernel_fusion import KernelFusion
from strop.measure.host import Host
from strop.trial.materials import Materials, build_model, materialise
from strop.trial.reference import Reference, parse_reference
from strop.trial.workshop import Workshop

MLP = """
import torch
import strop
from strop.testing.models import Mlp

def examples(count, seed, rows=4):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 16, generator=generator) for _ in range(count)]

def workload():
    return strop.InferenceWorkload(
        name="two layers",
        model=Mlp,
        inputs={"four rows": examples(3, 1), "two rows": examples(2, 2, rows=2)},
        calibration=strop.Split(inputs=examples(4, 3)),
        screening=strop.Split(inputs=examples(5, 4)),
        confirming=strop.Split(inputs=examples(6, 5)),
    )
"""


class Place:
    """A folder in which a workload lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "我的 模型"
        self.folder.mkdir()

    def write(self, text: str = MLP, name: str = "工作 load.py") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def refer(self, text: str = MLP, name: str = "工作 load.py", function: str = "") -> Reference:
        path = str(self.write(text, name))
        return parse_reference(f"{path}:{function}" if function else path)

    def opened(self, reference: Reference, name: str = "材料 data") -> tuple[Workload, torch.nn.Module, Materials]:
        """Load, build, and write the data, as the first steps of a run do."""
        workload = reference.load()
        model = build_model(workload, 0)
        return workload, model, materialise(workload, model, self.folder / name)

    def shop(
        self,
        reference: Reference,
        materials: Materials,
        *,
        cache: str = "缓存 cache",
        origin: Mapping[str, Any] | None = None,
        memory: int = 0,
    ) -> Workshop:
        host = Host(cpu="a test CPU", cores=2, memory_bytes=memory)
        folder = self.folder / cache
        return Workshop(reference, materials, host, folder, origin or {"test": 1}, self.folder / "日志 logs", 0)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user cache of this test alone, and no module of one test's workload left for the next."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "用户 cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder of this test alone."""
    return Place(tmp_path)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Text of a workload, the class of its folder, and recipes that differ in what is cached."""
    return SimpleNamespace(
        MLP=MLP,
        Place=Place,
        fuse=lambda threshold=1: KernelFusion(rules=("linear+activation",), threshold=threshold),
    )
