"""Small whole bundles, and a cache folder of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache as cache_calls
from pathlib import Path

import pytest
import torch

from strop.bundle import write_bundle
from strop.contract.draft import Draft, EngineOptions, Facts
from strop.contract.quality import unjudged
from strop.contract.signature import Signature, infer_signature
from strop.contract.workload import InferenceWorkload
from strop.engines import get


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user cache of this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def model() -> torch.nn.Module:
    """A tiny model."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()


@pytest.fixture(scope="session")
def artefact(tmp_path_factory: pytest.TempPathFactory, model: torch.nn.Module) -> Callable[[str], tuple[Path, Signature]]:
    """Lower the tiny model with an engine, once per session."""

    @cache_calls
    def build(engine: str) -> tuple[Path, Signature]:
        examples = [torch.randn(2, 4), torch.randn(3, 4)]
        with torch.inference_mode():
            signature = infer_signature(examples, [model(x) for x in examples])
        workload = InferenceWorkload(model=lambda: model, inputs={"all": examples}, quality=unjudged("a test"))
        draft = Draft(
            model=model, workload=workload, facts=Facts(), seed=0, signature=signature, examples=examples, engine=engine
        )
        folder = tmp_path_factory.mktemp(engine)
        get(engine).lower(draft, folder)
        return folder, signature

    return build


@pytest.fixture
def make(tmp_path: Path, artefact: Callable[[str], tuple[Path, Signature]]) -> Callable[..., Path]:
    """Write a bundle of the tiny model lowered with an engine."""

    def build(engine: str = "openvino", name: str = "bundle", **fields: object) -> Path:
        lowered, signature = artefact(engine)
        folder = tmp_path / name
        shutil.copytree(lowered, folder / "artefact")
        write_bundle(folder, engine=engine, signature=signature, options=EngineOptions(threads=1), **fields)  # type: ignore[arg-type]
        return folder

    return build
