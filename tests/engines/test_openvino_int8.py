from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from strop.contract.draft import Quantization
from strop.contract.quality import unjudged
from strop.contract.tally import Tally
from strop.engines import get, openvino_int8
from strop.engines.quiet import import_openvino
from strop.errors import PrepareError


def lowered(tiny: SimpleNamespace, folder: Path, model: Any, calibration: list[Any], **settings: Any) -> Any:
    draft = tiny.draft(
        model,
        calibration[:2],
        calibration,
        engine="openvino",
        quantization=Quantization(mode="static", tally=Tally(), **settings),
    )
    return draft, tiny.open(draft, folder)


def activation_ranges(folder: Path) -> list[float]:
    model = import_openvino().Core().read_model(folder / "model.xml")
    quantisers = [op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]
    return [float(op.input_value(2).get_node().get_data().max()) for op in quantisers]


@pytest.fixture(scope="module")
def net(tiny: SimpleNamespace) -> torch.nn.Module:
    torch.manual_seed(1)
    model: torch.nn.Module = tiny.Conv().eval()
    return model


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 3, 12, 12, generator=generator) for n in (2, 1, 1, 1, 1, 1)]


def test_a_net_is_quantised_counted_and_close(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    draft, program = lowered(tiny, tmp_path, net, images)
    assert draft.quantization.tally.to_json().items() >= {"int8 Convolution": 2, "int8 MatMul": 1, "int8 ReduceMean": 1}.items()
    assert int8_operators(draft) == 4
    with torch.inference_mode():
        want = net(images[3])
    error = float((program(images[3]) - want).norm() / want.norm())
    assert 0 < error < 0.05


def int8_operators(draft: Any) -> int:
    return sum(count for what, count in draft.quantization.tally.to_json().items() if what.startswith("int8 "))


@pytest.mark.parametrize(("shift", "moved"), [([0.05, 0.0], 1), ([0.05, -0.02], 2), ([0.0, 0.0], 0)])
def test_the_mean_error_of_an_answer_is_taken_back_out(shift: list[float], moved: int) -> None:
    openvino = import_openvino()
    from openvino import opset13

    generator = np.random.default_rng(0)
    weight = generator.standard_normal((8, 2)).astype(np.float32)
    samples = [{"x": generator.standard_normal((1, 8)).astype(np.float32)} for _ in range(40)]

    def model(error: list[float]) -> Any:
        x = opset13.parameter([-1, 8], np.float32, name="x")
        x.output(0).get_tensor().set_names({"x"})
        product = opset13.matmul(x, opset13.constant(weight), False, False)
        return openvino.Model([opset13.add(product, opset13.constant(np.array([error], np.float32)))], [x])

    quantised = model(shift)
    assert openvino_int8._recentre(quantised, model([0.0, 0.0]), samples) == moved
    core, config = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    arms = [core.compile_model(one, "CPU", config) for one in (quantised, model([0.0, 0.0]))]
    assert max(float(np.abs(arms[0](s)[0] - arms[1](s)[0]).max()) for s in samples) < 1e-5


def test_sensitivity_names_every_quantised_operator_largest_first(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    draft, _ = lowered(tiny, tmp_path, net, images)
    values = list(draft.quantization.sensitivity.values())
    assert len(values) == int8_operators(draft)
    assert values == sorted(values, reverse=True) and 0 < values[-1] <= values[0] < 0.1


def test_where_no_quality_is_claimed_nothing_is_ranked_for_handing_back(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    judged, _ = lowered(tiny, tmp_path / "judged", net, images)
    draft = tiny.draft(
        net,
        images[:2],
        images,
        quality=unjudged("a test"),
        engine="openvino",
        quantization=Quantization(mode="static", tally=Tally()),
    )
    tiny.open(draft, tmp_path / "unjudged")
    assert draft.quantization.sensitivity == {} != judged.quantization.sensitivity
    assert draft.quantization.tally.to_json() == judged.quantization.tally.to_json()


def test_a_layer_with_an_outlier_is_the_most_sensitive_one(tiny: SimpleNamespace, tmp_path: Path) -> None:
    model = tiny.Mlp()
    with torch.no_grad():
        model.first.weight[:, 1:] *= 1e-2
        model.first.bias.zero_()
    generator = torch.Generator().manual_seed(0)
    data = [torch.randn(2 + i % 2, 16, generator=generator) * 0.01 for i in range(6)]
    data[0][0, 0] = 30.0
    draft, _ = lowered(tiny, tmp_path, model, data)
    values = list(draft.quantization.sensitivity.values())
    assert len(values) == 2 and min(values) < 0.05


def test_operators_handed_back_stay_in_float(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    first, _ = lowered(tiny, tmp_path / "all", net, images)
    worst = next(iter(first.quantization.sensitivity))
    second, _ = lowered(tiny, tmp_path / "kept", net, images, keep_float=(worst,))
    assert int8_operators(second) == int8_operators(first) - 1
    assert worst not in second.quantization.sensitivity


def test_an_unknown_operator_to_keep_is_refused(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="no_such_operator"):
        lowered(tiny, tmp_path, net, images, keep_float=("no_such_operator",))


def test_a_model_with_nothing_to_quantise_counts_nothing(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft, program = lowered(tiny, tmp_path, tiny.NoWeights(), [torch.randn(n, 4) for n in (3, 2)])
    assert draft.quantization.tally.total == 0 and draft.quantization.sensitivity == {}
    x = torch.randn(5, 4)
    assert torch.allclose(program(x), draft.model(x), atol=1e-5)


def test_calibration_data_decides_the_scales(tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path) -> None:
    lowered(tiny, tmp_path / "small", net, images)
    lowered(tiny, tmp_path / "large", net, [10 * image for image in images])
    small, large = activation_ranges(tmp_path / "small"), activation_ranges(tmp_path / "large")
    assert len(small) == len(large) > 0
    assert large[0] == pytest.approx(10 * small[0], rel=0.05)


@pytest.mark.parametrize("estimator", ["mean_minmax", "percentile"])
def test_other_range_estimators_cut_outliers_off(
    estimator: str, tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path
) -> None:
    data = [image.clone() for image in images]
    data[-1][0, 0, 0, 0] = 100.0
    lowered(tiny, tmp_path / "minmax", net, data)
    lowered(tiny, tmp_path / estimator, net, data, range_estimator=estimator)
    assert activation_ranges(tmp_path / estimator)[0] < 0.7 * activation_ranges(tmp_path / "minmax")[0]


def test_settings_change_the_artefact(tiny: SimpleNamespace, tmp_path: Path) -> None:
    calls = [tiny.tokens(1, n, n) for n in (5, 9, 7, 12)]
    sizes = {}
    for name, settings in {
        "default": {},
        "symmetric": {"symmetric": True},
        "smooth": {"smooth": 0.3},
        "tensor": {"per_channel": False},
    }.items():
        _, program = lowered(tiny, tmp_path / name, tiny.bert(), calls, **settings)
        sizes[name] = program(**calls[0]).logits.numpy()
    for name in ("smooth", "tensor"):
        assert not np.array_equal(sizes[name], sizes["default"]), name


def test_weights_are_stored_in_int8(tiny: SimpleNamespace, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256))
    draft, _ = lowered(tiny, tmp_path / "int8", model, [torch.randn(n, 256) for n in (2, 3)])
    draft.quantization = None
    tiny.open(draft, tmp_path / "float")
    size = {name: (tmp_path / name / "model.bin").stat().st_size for name in ("int8", "float")}
    assert size["int8"] < 0.3 * size["float"]


def test_nothing_is_printed(
    tiny: SimpleNamespace, net: Any, images: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lowered(tiny, tmp_path, net, images)
    assert get("openvino").name == "openvino"
    assert capfd.readouterr().out == ""
