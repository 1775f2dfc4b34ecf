"""How far a quantised operator departs: measured alone, on float inputs, against numbers computed by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from strop.contract.draft import Quantization
from strop.engines.onnx_sensitivity import departures

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(8, 16)).astype(np.float32), RNG.normal(size=(16, 4)).astype(np.float32)
STEP = 0.03
"""Of the weights: wide enough that none is cut off."""

SAMPLES = [{"input_0": RNG.normal(size=(n, 8)).astype(np.float32)} for n in (3, 1, 5)]


def model(nodes: list[Any], constants: dict[str, Any]) -> Any:
    return helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("input_0", TensorProto.FLOAT, [None, 8])],
            [helper.make_tensor_value_info("output_0", TensorProto.FLOAT, [None, 4])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )


FLOAT = model(
    [
        helper.make_node("MatMul", ["input_0", "first"], ["hidden"], name="one"),
        helper.make_node("Relu", ["hidden"], ["active"], name="act"),
        helper.make_node("MatMul", ["active", "second"], ["output_0"], name="two"),
    ],
    {"first": FIRST, "second": SECOND},
)


def quantised(scales: dict[str, float]) -> Any:
    """Quantise the operators named, each with one scale for its input; all weights in the same steps."""
    nodes, constants = [], {"zero": np.array(0, np.int8), "fine": np.array(STEP, np.float32)}
    for node in FLOAT.graph.node:
        inputs = list(node.input)
        if node.name in scales:
            constants[f"{node.name}_scale"] = np.array(scales[node.name], np.float32)
            source, weight = inputs
            constants[f"{weight}_int8"] = np.clip(np.round({"first": FIRST, "second": SECOND}[weight] / STEP), -128, 127).astype(
                np.int8
            )
            nodes += [
                helper.make_node("QuantizeLinear", [source, f"{node.name}_scale", "zero"], [f"{source}_q"]),
                helper.make_node("DequantizeLinear", [f"{source}_q", f"{node.name}_scale", "zero"], [f"{source}_dq"]),
                helper.make_node("DequantizeLinear", [f"{weight}_int8", "fine", "zero"], [f"{weight}_dq"]),
            ]
            inputs = [f"{source}_dq", f"{weight}_dq"]
        nodes.append(helper.make_node(node.op_type, inputs, list(node.output), name=node.name))
    return model(nodes, {"first": FIRST, "second": SECOND, **constants})


def rounded(values: Any, scale: float) -> Any:
    return np.clip(np.round(values / np.float32(scale)), -128, 127) * np.float32(scale)


def by_hand(name: str, scale: float) -> float:
    """Return the departure of one operator, on float inputs, computed in numpy."""
    error = size = 0.0
    for sample in SAMPLES:
        x = sample["input_0"]
        if name == "two":
            x = np.maximum(x @ FIRST, 0)
        weight = FIRST if name == "one" else SECOND
        want = x @ weight
        error += float(np.square(rounded(x, scale) @ rounded(weight, STEP) - want).sum())
        size += float(np.square(want).sum())
    return float(np.sqrt(error / size))


@pytest.mark.parametrize(("one", "two"), [(0.02, 0.05), (0.5, 0.05), (0.02, 2.0)])
def test_departures_are_those_computed_by_hand_largest_first(one: float, two: float) -> None:
    found = departures(FLOAT, quantised({"one": one, "two": two}), SAMPLES)
    assert found == pytest.approx({"one": by_hand("one", one), "two": by_hand("two", two)}, rel=1e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_coarser_scale_is_the_more_sensitive_operator() -> None:
    assert next(iter(departures(FLOAT, quantised({"one": 0.03, "two": 3.0}), SAMPLES))) == "two"
    assert next(iter(departures(FLOAT, quantised({"one": 2.0, "two": 0.05}), SAMPLES))) == "one"


def test_an_operators_departure_does_not_depend_on_what_others_lose() -> None:
    fine = departures(FLOAT, quantised({"one": 0.02, "two": 0.05}), SAMPLES)
    coarse = departures(FLOAT, quantised({"one": 3.0, "two": 0.05}), SAMPLES)
    assert coarse["two"] == pytest.approx(fine["two"], rel=1e-6), "its inputs stay float"
    assert coarse["one"] > 3 * fine["one"]


def test_operators_that_stayed_float_are_not_listed() -> None:
    assert list(departures(FLOAT, quantised({"two": 0.05}), SAMPLES)) == ["two"]
    assert departures(FLOAT, FLOAT, SAMPLES) == {}


def test_the_order_of_samples_does_not_matter_and_each_counts_by_its_size() -> None:
    made = quantised({"one": 0.3, "two": 0.3})
    found = departures(FLOAT, made, SAMPLES)
    assert departures(FLOAT, made, SAMPLES[::-1]) == pytest.approx(found, rel=1e-9)
    together = [{"input_0": np.concatenate([sample["input_0"] for sample in SAMPLES])}]
    assert departures(FLOAT, made, together) == pytest.approx(found, rel=1e-5)


def test_operators_whose_output_is_zero_give_a_finite_number() -> None:
    silent = [{"input_0": np.zeros((2, 8), np.float32)}]
    assert departures(FLOAT, quantised({"one": 0.02}), silent) == {"one": 0.0}


def test_the_models_that_came_in_are_left_alone() -> None:
    made = quantised({"one": 0.02, "two": 0.05})
    before = FLOAT.SerializeToString(deterministic=True), made.SerializeToString(deterministic=True)
    departures(FLOAT, made, SAMPLES)
    assert (FLOAT.SerializeToString(deterministic=True), made.SerializeToString(deterministic=True)) == before


@pytest.mark.parametrize("per_channel", [False, True])
def test_ranges_found_on_the_fly_are_measured_as_the_runtime_finds_them(per_channel: bool, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(FLOAT, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8, per_channel=per_channel)
    found = departures(FLOAT, onnx.load(tmp_path / "int8.onnx"), SAMPLES)
    assert set(found) == {"one", "two"}
    for name, weight in (("one", FIRST), ("two", SECOND)):
        axis = 0 if per_channel else None
        step = np.abs(weight).max(axis=axis, keepdims=True) / 127
        error = size = 0.0
        for sample in SAMPLES:
            x = sample["input_0"] if name == "one" else np.maximum(sample["input_0"] @ FIRST, 0)
            low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
            scale = (high - low) / 255
            zero = np.clip(np.round(-low / scale), 0, 255)
            x8 = (np.clip(np.round(x / scale) + zero, 0, 255) - zero) * scale
            error += float(np.square(x8 @ (np.round(weight / step) * step) - x @ weight).sum())
            size += float(np.square(x @ weight).sum())
        assert found[name] == pytest.approx(np.sqrt(error / size), rel=0.05)


def test_a_convolution_keeps_its_strides_and_padding() -> None:
    weight = RNG.normal(size=(2, 1, 3)).astype(np.float32)
    attributes: dict[str, Any] = {"strides": [2], "pads": [1, 1], "kernel_shape": [3]}
    value = helper.make_tensor_value_info

    def graph(nodes: list[Any], constants: dict[str, Any]) -> Any:
        made = helper.make_graph(
            nodes,
            "conv",
            [value("input_0", TensorProto.FLOAT, [1, 1, 9])],
            [value("output_0", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    node = helper.make_node
    constants: dict[str, Any] = {
        "w": weight,
        "bias": np.array([1.0, -1.0], np.float32),
        "w8": np.round(weight / 0.02).clip(-128, 127).astype(np.int8),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
    }
    plain = graph([node("Conv", ["input_0", "w", "bias"], ["output_0"], name="conv", **attributes)], constants)
    int8 = graph(
        [
            node("QuantizeLinear", ["input_0", "scale", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
            node("DequantizeLinear", ["w8", "scale", "zero"], ["wdq"]),
            node("Conv", ["dq", "wdq", "bias"], ["output_0"], name="conv", **attributes),
        ],
        constants,
    )
    x = torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(0))
    float_weight, bias = torch.from_numpy(weight), torch.from_numpy(constants["bias"])
    want = torch.conv1d(x, float_weight, bias, stride=2, padding=1)
    got = torch.conv1d(
        torch.from_numpy(rounded(x.numpy(), 0.02)), torch.from_numpy(rounded(weight, 0.02)), bias, stride=2, padding=1
    )
    found = departures(plain, int8, [{"input_0": x.numpy()}])
    assert found["conv"] == pytest.approx(float((got - want).norm() / want.norm()), rel=1e-4)
    assert found["conv"] > 0


def test_a_model_whose_recurrent_layer_alone_was_quantised_has_no_list(tiny: SimpleNamespace, tmp_path: Path) -> None:
    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.LSTM(8, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(x)[0]
            return out

    data, intent = [torch.randn(2, 5, 8), torch.randn(2, 5, 8)], Quantization(mode="dynamic")
    draft = tiny.draft(Recurrent(), data, data, engine="onnxruntime", quantization=intent)
    program = tiny.open(draft, tmp_path)
    assert intent.tally.to_json() == {"int8 LSTM": 1} and intent.sensitivity == {}
    with torch.inference_mode():
        assert torch.allclose(program(data[0]), draft.model(data[0]), atol=0.1)
