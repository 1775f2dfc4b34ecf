"""Calibrated int8 through NNCF: quantise, count what was quantised, and say how far each operator departs."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from strop.contract.draft import Draft, Quantization
from strop.contract.pytree import to_numpy
from strop.contract.signature import as_call, call_leaves
from strop.engines.calls import Array
from strop.engines.openvino_graph import clone
from strop.engines.quiet import import_nncf, openvino_core
from strop.errors import PrepareError

if TYPE_CHECKING:
    from openvino import Model, Node, Output

_SENSITIVITY_SAMPLES = 16
_SMOOTH = 0.8
"""Where none is asked for: a sentence classifier erred a tenth less near its boundary than at NNCF's own 0.95."""
_MOVES = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "StridedSlice", "Slice", "Concat", "MaxPool"}
)
_PRODUCTS = frozenset(
    {
        "MatMul",
        "Convolution",
        "GroupConvolution",
        "ConvolutionBackpropData",
        "GroupConvolutionBackpropData",
        "LSTMSequence",
        "GRUSequence",
    }
)
_PASSIVE = _MOVES | {"FakeQuantize", "Result", "ShapeOf", "Convert"}


def quantize(model: Model, draft: Draft) -> Model:
    """Quantise with the draft's calibration inputs; fills the intent's tally and sensitivity.

    Raises:
        PrepareError: NNCF refuses, for instance because ``keep_float`` names an operator the model does not have.
    """
    nncf = import_nncf()
    intent = draft.quantization
    assert intent is not None
    names = [next(iter(port.get_names())) for port in model.inputs]
    samples = [_feed(example, draft, names) for example in draft.workload.calibration.inputs]
    attention = any(op.get_type_name() in {"ScaledDotProductAttention", "Softmax"} for op in model.get_ops())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars would mix with the caller's own output
            quantized = nncf.quantize(
                model,
                nncf.Dataset(samples),
                preset=nncf.QuantizationPreset.PERFORMANCE if intent.symmetric else nncf.QuantizationPreset.MIXED,
                subset_size=len(samples),
                model_type=nncf.ModelType.TRANSFORMER if attention else None,
                ignored_scope=nncf.IgnoredScope(names=list(intent.keep_float)) if intent.keep_float else None,
                advanced_parameters=_advanced(nncf, intent),
            )
    except Exception as error:  # NNCF raises many kinds
        raise PrepareError(f"nncf cannot quantise {type(draft.model).__name__}: {error}") from error
    operators = quantized_operators(quantized)
    if not any(op.get_type_name() in _PRODUCTS for op in operators):
        # Additions alone would only gain conversions around them: such a model is left as it was, and nothing is counted.
        intent.tally.add("int8 operators", 0)
        return model
    for kind, count in Counter(op.get_type_name() for op in operators).items():
        intent.tally.add(f"int8 {kind}", count)
    if draft.judged:
        intent.sensitivity.update(_sensitivity(quantized, samples[:_SENSITIVITY_SAMPLES]))
    intent.tally.add("output channels re-centred", _recentre(quantized, model, samples))
    from openvino._offline_transformations import compress_quantize_weights_transformation

    compress_quantize_weights_transformation(quantized)
    return quantized


def _recentre(quantized: Model, original: Model, samples: list[dict[str, Array]]) -> int:
    """Take the mean error of each output channel over the calibration inputs back out; return how many channels moved.

    Rounding errors add up to a shift that is the same for all inputs, and a classifier near its boundary is sensitive to
    nothing else (Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019). Means
    within two standard errors of zero, and outputs whose last dimension varies, are left alone.
    """
    from openvino import opset13

    if len(samples) < 2:  # nothing tells a shift from chance
        return 0
    core, config = openvino_core(), {"INFERENCE_PRECISION_HINT": "f32"}
    arms = [core.compile_model(model, "CPU", config) for model in (original, quantized)]
    answers = [[arm(sample) for sample in samples] for arm in arms]
    moved = 0
    for index, output in enumerate(quantized.outputs):
        shape = output.get_partial_shape()
        if shape.rank.get_length() < 2 or shape[-1].is_dynamic or not output.get_element_type().is_real():
            continue
        channels = shape[-1].get_length()
        per_sample = [(a[index] - b[index]).reshape(-1, channels).mean(axis=0) for a, b in zip(*answers, strict=True)]
        errors = np.asarray(per_sample, dtype=np.float64)
        shift = errors.mean(axis=0)
        certain = np.abs(shift) > 2 * errors.std(axis=0, ddof=1) / np.sqrt(len(errors))
        if not certain.any():
            continue
        moved += int(certain.sum())
        result = output.get_node()
        source = result.input_value(0)
        correction = opset13.constant(np.where(certain, shift, 0.0).astype(np.float32))
        added = opset13.add(source, opset13.convert_like(correction, source))
        result.input(0).replace_source_output(added.output(0))
    return moved


def quantized_operators(model: Model) -> list[Node]:
    """Return the operators that compute on quantised activations, in graph order."""
    return [op for op in model.get_ordered_ops() if op.get_type_name() not in _PASSIVE and _activations_quantized(op)]


def _activations_quantized(op: Node) -> bool:
    sources = [value.get_source_output() for value in op.inputs()]
    return any(_quantizer(source) for source in sources) and all(_quantizer(s) or _constant(s) for s in sources)


def _quantizer(output: Output) -> bool:
    """Tell whether a value comes from a quantiser of an activation, at most through operators that only move data."""
    node = output.get_node()
    while node.get_type_name() in _MOVES:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "FakeQuantize" and not _constant(node.input_value(0))


def _constant(output: Output) -> bool:
    """Tell whether a value is computed from constants only."""
    waiting = [output.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return False
        waiting += [value.get_node() for value in node.input_values()]
    return True


def _sensitivity(quantized: Model, samples: list[dict[str, Array]]) -> dict[str, float]:
    """Return for each quantised operator how far its int8 output departs from float, alone and on float inputs.

    Each quantised operator gets a float twin that everything after it uses, so the errors of others do not add up. The
    departure is the root of the squared difference over the squared twin, summed over the samples.
    """
    model = quantized.clone()
    names = []
    for op in quantized_operators(model):
        _add_twin(model, op)
        names.append(op.get_friendly_name())
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    first = len(quantized.outputs)
    sums = np.zeros((len(names), 2))
    for sample in samples:
        answer = compiled(sample)
        sums += np.array([answer[index] for index in range(first, first + 2 * len(names))], dtype=np.float64).reshape(-1, 2)
    departures = np.sqrt(sums[:, 0] / np.maximum(sums[:, 1], 1e-30))
    ranked = sorted(zip(names, departures.tolist(), strict=True), key=lambda row: -row[1])
    return dict(ranked)


def _add_twin(model: Model, op: Node) -> None:
    from openvino import opset13

    twin = clone(op, [_float_value(value) for value in op.input_values()])
    output = op.output(0)
    for target in list(output.get_target_inputs()):
        target.replace_source_output(twin.output(0))
    difference = opset13.subtract(output, twin.output(0))
    for value in (difference.output(0), twin.output(0)):
        flat = opset13.reshape(opset13.multiply(value, value), np.array([-1]), special_zero=False)
        total = opset13.reduce_sum(flat, np.array([0]), keep_dims=True)
        model.add_results([opset13.result(total)])


def _float_value(output: Output) -> Output:
    """Return the value as it was before quantisation, cloning operators that only move data."""
    node = output.get_node()
    kind = node.get_type_name()
    if kind == "FakeQuantize":
        return node.input_value(0)
    if kind in _MOVES and _quantizer(output):
        return clone(node, [_float_value(value) for value in node.input_values()]).output(output.get_index())
    return output


def _advanced(nncf: Any, intent: Quantization) -> Any:
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters, QuantizationParameters

    smooth = _SMOOTH if intent.smooth is None else intent.smooth
    return nncf.AdvancedQuantizationParameters(
        weights_quantization_params=QuantizationParameters(per_channel=intent.per_channel),
        activations_range_estimator_params=_range_estimator(intent),
        backend_params={"compress_weights": False},
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=smooth),
    )


def _range_estimator(intent: Quantization) -> Any:
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        RangeEstimatorParametersSet,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    if intent.range_estimator == "minmax":
        return RangeEstimatorParametersSet.MINMAX
    if intent.range_estimator == "mean_minmax":
        return RangeEstimatorParametersSet.MEAN_MINMAX
    side = {"statistics_type": StatisticsType.QUANTILE, "aggregator_type": AggregatorType.MEAN}
    return RangeEstimatorParameters(
        min=StatisticsCollectorParameters(**side, quantile_outlier_prob=1e-4),
        max=StatisticsCollectorParameters(**side, quantile_outlier_prob=1e-4),
    )


def _feed(example: object, draft: Draft, names: list[str]) -> dict[str, Array]:
    leaves = call_leaves(as_call(example), draft.signature)
    return {name: np.ascontiguousarray(to_numpy(leaves[int(name.removeprefix("input_"))])) for name in names}
