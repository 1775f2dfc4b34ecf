from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop.contract.draft import EngineOptions, Quantization
from strop.engines import get
from strop.engines.calls import read_settings
from strop.engines.quiet import openvino_core
from strop.errors import ArtefactError, UsageError


@pytest.fixture(scope="module")
def bert(tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("bert")
    draft = tiny.draft(
        tiny.bert(), [tiny.tokens(b, n, n) for b, n in ((3, 20), (1, 5), (1, 8), (1, 13), (1, 20))], engine="openvino"
    )
    get("openvino").lower(draft, folder)
    return SimpleNamespace(draft=draft, folder=folder)


def opened(lowered: Any, **options: Any) -> Any:
    return get("openvino").open(lowered.folder, lowered.draft.signature, EngineOptions(**options))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_bucketed_answers_equal_exact_ones(count: int, bert: SimpleNamespace, tiny: SimpleNamespace) -> None:
    program = opened(bert, buckets=count)
    for batch, length in ((1, 1), (1, 5), (1, 6), (3, 17), (1, 20), (2, 7), (1, 40)):
        call = tiny.tokens(batch, length, seed=length)
        with torch.inference_mode():
            want = bert.draft.model(**call).logits
        assert torch.allclose(program(**call).logits, want, atol=1e-5), (batch, length)


def test_shapes_are_compiled_on_first_use_and_no_more_than_are_held(bert: SimpleNamespace, tiny: SimpleNamespace) -> None:
    program = opened(bert, buckets=2)
    assert program._buckets.shapes == () and program._exact is None
    for length in (3, 4, 5, 19):
        program(**tiny.tokens(1, length))
    assert len(program._buckets.shapes) == 2
    assert program._exact is None, "no call left the buckets, so the free-shape model was never needed"
    program._buckets._capacity = 2
    program(**tiny.tokens(3, 19))
    assert len(program._buckets.shapes) == 2 and program._exact is not None


def test_sizes_that_never_vary_are_fixed_in_the_artefact(tiny: SimpleNamespace, bert: SimpleNamespace, tmp_path: Path) -> None:
    """The converter frees all of them, and free sizes cost a few per cent of a call."""
    draft = tiny.draft(tiny.bert(), [tiny.tokens(b, 16, b) for b in (1, 2)], engine="openvino")
    get("openvino").lower(draft, tmp_path)
    for folder, shape in ((tmp_path, "[?,16]"), (bert.folder, "[?,?]")):
        model = openvino_core().read_model(folder / "model.xml")
        assert {str(port.partial_shape) for port in model.inputs} == {shape}


def test_answers_per_token_are_cut_back_to_the_call(tiny: SimpleNamespace, tmp_path: Path) -> None:
    def call(batch: int, length: int) -> dict[str, torch.Tensor]:
        return {"ids": torch.randint(0, 50, (batch, length)), "mask": torch.ones(batch, length)}

    draft = tiny.draft(tiny.PerToken(), [call(1, n) for n in (4, 7, 11)] + [call(2, 11)], engine="openvino")
    program = tiny.open(draft, tmp_path, EngineOptions(buckets=1))
    long, short = call(1, 11), call(1, 6)
    program(**long)
    got, want = program(**short), draft.model(**short)
    assert got["tokens"].shape == (1, 6, 4), "and the longer call before left nothing behind in the buffers"
    assert torch.allclose(got["tokens"], want["tokens"], atol=1e-5) and torch.allclose(got["pooled"], want["pooled"], atol=1e-5)


def test_a_model_that_reads_its_padding_is_found_at_lowering_and_buckets_are_refused(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    draft = tiny.draft(tiny.Unmasked(), [torch.randn(1, n, 8) for n in (3, 5, 9)], engine="openvino")
    program = tiny.open(draft, tmp_path)
    x = torch.randn(1, 4, 8)
    assert torch.allclose(program(x), draft.model(x), atol=1e-5), "exact shapes are unharmed"
    with pytest.raises(UsageError, match="buckets=2 cannot be used with this model: padding changes the answers"):
        get("openvino").open(tmp_path, draft.signature, EngineOptions(buckets=2))


def test_more_than_four_buckets_are_refused(bert: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="buckets=5"):
        opened(bert, buckets=5)


@pytest.mark.parametrize("buckets", [0, 2])
def test_calls_from_many_threads_do_not_mix(buckets: int, bert: SimpleNamespace, tiny: SimpleNamespace) -> None:
    program = opened(bert, buckets=buckets)
    calls = [tiny.tokens(1, 3 + i % 12, seed=i) for i in range(40)]
    alone = [program(**call).logits for call in calls]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda call: program(**call).logits, calls))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_an_input_the_model_ignores_may_hold_anything(tiny: SimpleNamespace, tmp_path: Path) -> None:
    class OneOfTwo(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return b * 2

    draft = tiny.draft(OneOfTwo(), [(torch.randn(n, 2), torch.randn(n, 3)) for n in (2, 3)], engine="openvino")
    program = tiny.open(draft, tmp_path)
    b = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(program(np.full((9, 2), np.nan, np.float32), b), 2 * b)


def test_a_float32_artefact_is_not_run_in_bfloat16(bert: SimpleNamespace) -> None:
    assert read_settings(bert.folder)["precision"] == "f32"
    import openvino

    config = opened(bert)._exact._compiled.get_property("INFERENCE_PRECISION_HINT")
    assert config == openvino.Type.f32


def test_options_reach_the_compiled_model(bert: SimpleNamespace) -> None:
    compiled = opened(bert, threads=1, streams=1, hints={"ENABLE_HYPER_THREADING": "NO"})._exact._compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert not compiled.get_property("ENABLE_HYPER_THREADING")


def test_a_hint_that_does_not_exist_is_refused_in_words(bert: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="NO_SUCH_HINT"):
        opened(bert, hints={"NO_SUCH_HINT": "1"})


def test_a_damaged_model_is_an_artefact_error(bert: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net")
    (tmp_path / "engine.json").write_text((bert.folder / "engine.json").read_text())
    with pytest.raises(ArtefactError, match=r"model\.xml cannot be read"):
        get("openvino").open(tmp_path, bert.draft.signature, EngineOptions())
    (tmp_path / "engine.json").write_text("[]")
    with pytest.raises(ArtefactError, match=r"engine\.json"):
        get("openvino").open(tmp_path, bert.draft.signature, EngineOptions())


def test_int8_without_calibration_or_on_the_fly_is_declined(tiny: SimpleNamespace) -> None:
    engine = get("openvino")
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], quantization=Quantization(mode="static"))
    assert "needs calibration inputs" in str(engine.decline(draft, tiny.HOST))
    draft.quantization = Quantization(mode="dynamic")
    assert "choose onnxruntime" in str(engine.decline(draft, tiny.HOST))
