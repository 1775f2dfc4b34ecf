from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from strop.contract.draft import EngineOptions, Precision, Quantization
from strop.contract.tally import Tally
from strop.engines import get
from strop.engines.calls import read_settings
from strop.errors import ArtefactError, UsageError


def test_without_a_compiler_it_declines_and_names_what_is_missing(tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)])
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not on the path" in str(get("inductor").decline(draft, tiny.HOST))


def test_int8_is_declined(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], quantization=Quantization(mode="static"))
    assert "runs no int8" in str(get("inductor").decline(draft, tiny.HOST))


def test_bfloat16_is_captured_and_counted_and_freezing_is_settled_at_lowering(tiny: SimpleNamespace, tmp_path: Path) -> None:
    intent = Precision(dtype="bfloat16", tally=Tally())
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16), torch.randn(3, 16)], engine="inductor", precision=intent)
    program = tiny.open(draft, tmp_path)
    assert intent.tally.to_json() == {"operators in bfloat16": 2}
    x = torch.randn(5, 16)
    with torch.inference_mode():
        want = draft.model(x)
    assert program(x).dtype == torch.float32 and 0 < float((program(x) - want).abs().max()) < 0.05
    assert program(x.numpy()).dtype.name == "float32"
    assert read_settings(tmp_path)["freezing"] is True

    engine = get("inductor")
    with pytest.raises(UsageError, match="freezing is settled at lowering"):
        engine.open(tmp_path, draft.signature, EngineOptions(hints={"freezing": "off"}))
    with pytest.raises(UsageError, match="freezing is on or off; got 'perhaps'"):
        engine.open(tmp_path, draft.signature, EngineOptions(hints={"freezing": "perhaps"}))
    (tmp_path / "model.pt2").unlink()
    with pytest.raises(ArtefactError, match=r"model\.pt2 is missing"):
        engine.open(tmp_path, draft.signature, EngineOptions())


def test_an_accelerator_is_declined(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)])
    assert get("inductor").decline(draft, tiny.HOST) is None
    draft.workload = replace(draft.workload, device="cuda")
    assert get("inductor").decline(draft, tiny.HOST) == "the inductor engine runs on the processor, and this workload is on cuda"
