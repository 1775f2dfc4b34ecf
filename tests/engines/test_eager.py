from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from strop.contract.draft import EngineOptions, Quantization
from strop.engines import get
from strop.engines.calls import read_settings, write_settings
from strop.errors import ArtefactError


def test_weights_come_from_the_artefact_not_from_the_source(tiny: SimpleNamespace, tmp_path: Path) -> None:
    trained = tiny.Mlp()
    draft = tiny.draft(trained, [torch.randn(2, 16)])
    get("eager").lower(draft, tmp_path)
    fresh = tiny.Mlp()
    program = get("eager").open(tmp_path, draft.signature, EngineOptions(), lambda: fresh)
    x = torch.randn(2, 16)
    assert not torch.allclose(tiny.Mlp()(x), trained(x))
    assert torch.equal(program(x), trained(x))
    assert not fresh.training


def test_tied_weights_are_stored_once_and_stay_tied(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Tied(), [torch.randint(0, 20, (2, 3))])
    get("eager").lower(draft, tmp_path)
    with safe_open(tmp_path / "weights.safetensors", framework="numpy") as stream:
        assert len(stream.keys()) == 1
    fresh = tiny.Tied()
    program = get("eager").open(tmp_path, draft.signature, EngineOptions(), lambda: fresh)
    ids = torch.randint(0, 20, (4, 5))
    assert torch.equal(program(ids), draft.model(ids))
    assert fresh.head.weight is fresh.embed.weight


def test_a_model_of_other_shapes_or_names_is_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)])
    get("eager").lower(draft, tmp_path)
    for other in (torch.nn.Linear(16, 4), tiny.Conv()):
        with pytest.raises(ArtefactError, match="does not fit the model that the source builds"):
            get("eager").open(tmp_path, draft.signature, EngineOptions(), lambda other=other: other)


def test_damaged_or_missing_weights_are_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)])
    get("eager").lower(draft, tmp_path)
    with pytest.raises(ArtefactError, match="weights only; give the workload"):
        get("eager").open(tmp_path, draft.signature, EngineOptions())
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match=r"weights\.safetensors is missing or damaged"):
        get("eager").open(tmp_path, draft.signature, EngineOptions(), tiny.Mlp)


def test_channels_last_reaches_weights_and_inputs(tiny: SimpleNamespace, tmp_path: Path) -> None:
    seen = []
    draft = tiny.draft(tiny.Conv(), [torch.randn(2, 3, 12, 12)], layout="channels_last")
    get("eager").lower(draft, tmp_path)
    fresh = tiny.Conv()
    fresh.body[3].register_forward_pre_hook(lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last)))
    program = get("eager").open(tmp_path, draft.signature, EngineOptions(), lambda: fresh)
    x = torch.randn(2, 3, 12, 12)
    with torch.inference_mode():
        assert torch.allclose(program(x), draft.model(x), atol=1e-5)
    assert seen == [True]


def test_answers_carry_no_gradient_and_the_model_is_not_in_training(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(torch.nn.Sequential(torch.nn.Dropout(0.9), torch.nn.Linear(4, 4)), [torch.randn(2, 4)])
    draft.model.train()
    program = tiny.open(draft, tmp_path)
    x = torch.ones(2, 4)
    assert torch.equal(program(x), program(x)) and program(x).is_inference()


def test_int8_is_declined(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], quantization=Quantization(mode="dynamic"))
    assert "runs no int8" in str(get("eager").decline(draft, tiny.HOST))


def test_an_artefact_for_a_device_that_is_not_here_runs_no_source(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)])
    get("eager").lower(draft, tmp_path)
    assert read_settings(tmp_path)["device"] == "cpu"
    write_settings(tmp_path, {**read_settings(tmp_path), "device": "cuda:97"})

    def source() -> torch.nn.Module:
        raise AssertionError("nothing of the workload may run")

    with pytest.raises(ArtefactError, match="cuda:97 is asked for"):
        get("eager").open(tmp_path, draft.signature, EngineOptions(), source)


def test_without_graphs_nothing_is_captured_and_tensors_can_be_counted(tiny: SimpleNamespace, tmp_path: Path) -> None:
    program = tiny.open(tiny.draft(tiny.Mlp(), [torch.randn(2, 16)]), tmp_path)
    assert (program.compiled, program.tally.total, program.tensor_device) == (0, 0, "cpu")
