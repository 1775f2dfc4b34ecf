"""Int8 in ONNX files: ranges found on the fly or calibrated; counts what was quantised and how far it departs."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strop.contract.draft import Draft, Quantization
from strop.contract.pytree import to_numpy
from strop.contract.signature import as_call, call_leaves
from strop.engines.calls import Array
from strop.errors import PrepareError, did_you_mean

if TYPE_CHECKING:
    from onnx import ModelProto

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_AROUND_CONVOLUTIONS = ("Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat")
_DYNAMIC_KERNELS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv", "DynamicQuantizeLSTM": "LSTM", "QAttention": "Attention"}
_PERCENTILE = 99.99
_SENSITIVITY_SAMPLES = 16


def quantize(path: Path, draft: Draft) -> None:
    """Quantise the ONNX file in place; fills the intent's tally and sensitivity.

    Static: QDQ format, weights symmetric int8, activations uint8 (int8 when the intent is symmetric), as the runtime's
    x86 kernels want it. Dynamic: the runtime finds each activation's range per call.

    Raises:
        PrepareError: the runtime's quantiser fails, or ``keep_float`` names an operator the model does not have.
    """
    import onnx

    from strop.engines.onnx_sensitivity import departures

    intent = draft.quantization
    assert intent is not None
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        _prepare(path, prepared, replace_gemm=intent.mode == "dynamic")
        model = onnx.load(prepared)
        _check_kept(intent, model)
        try:
            if intent.mode == "dynamic":
                _dynamic(prepared, path, intent, model)
            else:
                _static(prepared, path, intent, model, _feeds(draft, model))
        except PrepareError:
            raise
        except Exception as error:  # the quantiser raises many kinds
            raise PrepareError(f"onnxruntime cannot quantise {type(draft.model).__name__}: {error}") from error
    quantized = onnx.load(path)
    for kind, count in quantized_kinds(quantized).items():
        intent.tally.add(f"int8 {kind}", count)
    samples = list(_feeds(draft, model))[:_SENSITIVITY_SAMPLES] if draft.judged and draft.workload.calibration.inputs else []
    if samples and intent.tally.total:
        intent.sensitivity.update(departures(model, quantized, samples))


def quantized_kinds(model: ModelProto) -> Counter[str]:
    """Count operators that compute on int8 values, by the kind they had in the float model."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    counts = Counter(_DYNAMIC_KERNELS[node.op_type] for node in model.graph.node if node.op_type in _DYNAMIC_KERNELS)
    counts.update(
        node.op_type for node in model.graph.node if node.op_type in _PRODUCTS and dequantized.issuperset(node.input[:2])
    )
    return counts


def _prepare(source: Path, target: Path, *, replace_gemm: bool) -> None:
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    if replace_gemm:
        model = ONNXModel(onnx.load(target))
        model.replace_gemm_with_matmul()
        del model.model.graph.value_info[:]  # shapes of transposed weights are stale; the quantiser infers them anew
        onnx.save(model.model, target)


def _dynamic(source: Path, target: Path, intent: Quantization, model: ModelProto) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Convolutions stay in float: the runtime's ConvInteger is slower than its float convolution.
    quantize_dynamic(
        str(source),
        str(target),
        op_types_to_quantize=["MatMul", "LSTM", "Attention"],
        per_channel=intent.per_channel,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_excluded(intent, model),
        extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": intent.symmetric},
    )


def _static(source: Path, target: Path, intent: Quantization, model: ModelProto, feeds: Iterator[dict[str, Array]]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    convolutions = any(node.op_type == "Conv" for node in model.graph.node)
    percentile = intent.range_estimator == "percentile"
    extra: dict[str, Any] = {"ActivationSymmetric": intent.symmetric, "WeightSymmetric": True}
    if percentile:
        feeds = _of_one_shape(list(feeds))
        extra["CalibPercentile"] = _PERCENTILE
    if intent.range_estimator == "mean_minmax":
        extra |= {"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05}
    if intent.smooth is not None:
        raise PrepareError("smooth is not offered on onnxruntime; leave it unset, or choose openvino.")
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            str(source),
            str(target),
            _reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_PRODUCTS, *(_AROUND_CONVOLUTIONS if convolutions else ())],
            per_channel=intent.per_channel,
            activation_type=QuantType.QInt8 if intent.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*_excluded(intent, model), *_products_of_activations(model)],
            calibrate_method=CalibrationMethod.Percentile if percentile else CalibrationMethod.MinMax,
            extra_options=extra,
        )
    finally:
        logging.disable(logging.NOTSET)


def _of_one_shape(feeds: list[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    """The runtime stacks what it saw of each tensor before it takes percentiles."""
    if len({tuple(array.shape for array in feed.values()) for feed in feeds}) > 1:
        raise PrepareError(
            "percentile needs calibration inputs of one shape on onnxruntime, and these differ; use minmax, or choose openvino."
        )
    return iter(feeds)


def _reader(feeds: Iterator[dict[str, Array]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(feeds, None)

    return Reader()


def _feeds(draft: Draft, model: ModelProto) -> Iterator[dict[str, Array]]:
    names = [value.name for value in model.graph.input]
    for example in draft.workload.calibration.inputs:
        leaves = call_leaves(as_call(example), draft.signature)
        yield {name: np.ascontiguousarray(to_numpy(leaves[int(name.removeprefix("input_"))])) for name in names}


def _check_kept(intent: Quantization, model: ModelProto) -> None:
    names = {node.name for node in model.graph.node}
    for name in intent.keep_float:
        if name not in names:
            raise PrepareError(f"keep_float names {name!r}, which is no operator of the model.{did_you_mean(name, names)}")


def _products_of_activations(model: ModelProto) -> Sequence[str]:
    """Name the products without a weight (attention); they stay in float: they lose most and are small at common lengths."""
    constant = {value.name for value in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and constant.isdisjoint(node.input)]


def _excluded(intent: Quantization, model: ModelProto) -> Sequence[str]:
    return [node.name for node in model.graph.node if node.name in intent.keep_float]
