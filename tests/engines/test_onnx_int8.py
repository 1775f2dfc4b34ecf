from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from strop.contract.draft import Quantization
from strop.contract.quality import unjudged
from strop.engines import get
from strop.errors import PrepareError


def lowered(tiny: SimpleNamespace, folder: Path, model: Any, data: list[Any], mode: str, **settings: Any) -> Any:
    intent = Quantization(mode=mode, **settings)  # type: ignore[arg-type]
    draft = tiny.draft(model, data[:2], data, engine="onnxruntime", quantization=intent)
    assert get("onnxruntime").decline(draft, tiny.HOST) is None
    return intent, tiny.open(draft, folder)


def scales(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    graph = onnx.load(folder / "model.onnx").graph
    return {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer if value.name.endswith("_scale")}


@pytest.fixture(scope="module")
def net(tiny: SimpleNamespace) -> torch.nn.Module:
    torch.manual_seed(1)
    model: torch.nn.Module = tiny.Conv().eval()
    return model


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 3, 12, 12, generator=generator) for n in (2, 1, 1, 1, 1)]


def test_static_int8_is_counted_and_close(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    intent, program = lowered(tiny, tmp_path, net, images, "static")
    assert intent.tally.to_json() == {"int8 Conv": 2, "int8 Gemm": 1}
    with torch.inference_mode():
        want = net(images[2])
    assert 0 < float((program(images[2]) - want).norm() / want.norm()) < 0.05


def test_dynamic_int8_quantises_products_and_leaves_convolutions(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    intent, program = lowered(tiny, tmp_path, net, images, "dynamic")
    assert intent.tally.to_json() == {"int8 MatMul": 1}
    with torch.inference_mode():
        assert torch.allclose(program(images[2]), net(images[2]), atol=0.05)


def test_a_transformer_keeps_its_attention_products_in_float(tiny: SimpleNamespace, tmp_path: Path) -> None:
    calls = [tiny.tokens(b, n, n) for b, n in ((1, 6), (2, 9), (1, 12))]
    model = tiny.bert()
    for mode in ("dynamic", "static"):
        intent, program = lowered(tiny, tmp_path / mode, model, calls, mode)
        assert intent.tally.total == 2 * 6 + 2, "six linear layers per block, pooler and classifier"
        for call in (*calls, tiny.tokens(3, 20)):
            with torch.inference_mode():
                assert torch.allclose(program(**call).logits, model(**call).logits, atol=0.05)


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_a_model_with_nothing_to_quantise_counts_nothing(mode: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    intent, program = lowered(tiny, tmp_path, tiny.NoWeights(), [torch.randn(n, 4) for n in (3, 2)], mode)
    assert intent.tally.total == 0 and intent.sensitivity == {}
    x = torch.randn(2, 4)
    assert torch.allclose(program(x), tiny.NoWeights()(x), atol=1e-5)


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_the_most_sensitive_operator_can_be_handed_back(
    mode: str, tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    first, _ = lowered(tiny, tmp_path / "all", net, images, mode)
    values = list(first.sensitivity.values())
    assert len(values) == first.tally.total and values == sorted(values, reverse=True) and values[-1] > 0
    worst = next(iter(first.sensitivity))
    second, _ = lowered(tiny, tmp_path / "kept", net, images, mode, keep_float=(worst,))
    assert second.tally.total == first.tally.total - 1 and worst not in second.sensitivity


def test_where_no_quality_is_claimed_nothing_is_ranked_for_handing_back(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    intent = Quantization(mode="static")
    tiny.open(
        tiny.draft(net, images[:2], images, quality=unjudged("a test"), engine="onnxruntime", quantization=intent), tmp_path
    )
    assert intent.tally.total == 3 and intent.sensitivity == {}


def test_an_unknown_operator_to_keep_is_refused_with_the_nearest(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(PrepareError, match=r"keep_float names 'node_Conv_0x', which is no operator"):
        lowered(tiny, tmp_path, net, images, "static", keep_float=("node_Conv_0x",))


def test_calibration_data_decides_the_scales(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    lowered(tiny, tmp_path / "small", net, images, "static")
    lowered(tiny, tmp_path / "large", net, [10 * image for image in images], "static")
    small, large = scales(tmp_path / "small"), scales(tmp_path / "large")
    assert large["input_0_scale"] == pytest.approx(10 * small["input_0_scale"], rel=1e-3)


def test_weights_have_a_scale_per_channel_unless_asked_otherwise(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    lowered(tiny, tmp_path / "channel", net, images, "static")
    lowered(tiny, tmp_path / "tensor", net, images, "static", per_channel=False)
    assert max(scale.size for scale in scales(tmp_path / "channel").values()) == 16
    assert max(scale.size for scale in scales(tmp_path / "tensor").values()) == 1


@pytest.mark.parametrize("estimator", ["percentile", "mean_minmax"])
def test_other_range_estimators_cut_outliers_off(estimator: str, tiny: SimpleNamespace, net: Any, tmp_path: Path) -> None:
    data = [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    data[-1][0, 0, 0, 0] = 100.0
    lowered(tiny, tmp_path / "minmax", net, data, "static")
    lowered(tiny, tmp_path / estimator, net, data, "static", range_estimator=estimator)
    assert scales(tmp_path / estimator)["input_0_scale"] < 0.7 * scales(tmp_path / "minmax")["input_0_scale"]


def test_percentiles_of_ragged_inputs_are_refused_in_words(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    ragged = [images[0], images[0].repeat(2, 1, 1, 1)]
    with pytest.raises(PrepareError, match="percentile needs calibration inputs of one shape"):
        lowered(tiny, tmp_path, net, ragged, "static", range_estimator="percentile")


def test_smoothing_is_refused_in_words(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="smooth is not offered"):
        lowered(tiny, tmp_path, net, images, "static", smooth=0.5)


def test_static_without_calibration_is_declined(tiny: SimpleNamespace) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], quantization=Quantization(mode="static"))
    assert "needs calibration inputs" in str(get("onnxruntime").decline(draft, tiny.HOST))
