"""``strop.diagnose``: the original alone, at each of its points; nothing stays behind."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import strop
from strop.diagnose.diagnosis import Diagnosis
from strop.errors import UsageError


def test_a_live_model_is_diagnosed_at_each_point_and_nothing_stays_behind(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = place / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    net = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 8))
    inputs = {"a row": [torch.randn(1, 256)], "many rows": [torch.randn(64, 256)]}
    workload = strop.InferenceWorkload(model=lambda: net, inputs=inputs, quality=strop.unjudged("a test"))
    found = strop.diagnose(workload)
    assert [point.point for point in found.points] == ["a row", "many rows"]
    few, many = found.points
    assert many.flops == 64 * few.flops >= 64 * 2 * (256 * 512 + 512 * 8)
    assert many.seconds > 0
    assert Diagnosis.from_json(found.to_json()) == found
    assert list(scratch.iterdir()) == []


def test_an_accelerator_is_not_diagnosed_by_a_profile_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    session = SimpleNamespace(workload=SimpleNamespace(device="cuda:1"))
    monkeypatch.setattr("strop.api.diagnose.open_session", lambda *arguments: contextlib.nullcontext(session))
    with pytest.raises(UsageError, match="cuda:1 runs operators later than they are started"):
        strop.diagnose("workload.py")
