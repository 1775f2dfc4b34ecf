"""How far each quantised operator of an ONNX model departs from float, alone and on float inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from strop.engines.calls import Array
from strop.engines.quiet import import_onnxruntime

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SUFFIX = "__departure"


def departures(model: ModelProto, quantized: ModelProto, samples: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """Return operator name → root of the squared departure over the squared float output, largest first.

    Beside each float product that was quantised a second one is put, fed through the quantised model's own scales; the
    graph itself stays float, so the errors of different operators do not add up.

    Args:
        model: the float model that was quantised.
        quantized: what became of it.
        samples: feeds, by input name.
    """
    graph = _Probes(model, quantized)
    names = [node.name for node in list(graph.model.graph.node) if graph.add(node)]
    if not names:
        return {}  # recurrent layers are quantised too, and have no probe
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Optimised, the runtime would fuse each probe's quantisers into an int8 kernel, which is just what is to be measured.
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    wanted = [f"{name}{_SUFFIX}{part}" for name in names for part in ("_error", "_size")]
    sums = np.zeros((len(names), 2))
    for sample in samples:
        sums += np.array(session.run(wanted, dict(sample)), dtype=np.float64).reshape(-1, 2)
    values = np.sqrt(sums[:, 0] / np.maximum(sums[:, 1], 1e-30)).tolist()
    return dict(sorted(zip(names, values, strict=True), key=lambda row: -row[1]))


class _Probes:
    """A float model with probes put beside its quantised products."""

    def __init__(self, model: ModelProto, quantized: ModelProto) -> None:
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._onnx = onnx
        self._kernels = {node.name: node for node in quantized.graph.node}
        self._made = {output: node for node in quantized.graph.node for output in node.output}
        self._constants = {value.name: value for value in quantized.graph.initializer}
        self._present = {value.name for value in model.graph.initializer}

    def add(self, node: NodeProto) -> bool:
        """Put a probe beside ``node`` if it was quantised; tell whether it was."""
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            return False
        static = self._kernels.get(node.name)
        if static is not None and static.op_type == node.op_type:
            makers = [self._made.get(name) for name in static.input[:2]]
            if not all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
                return False
            inputs = [self._through(name, f"{node.name}_{i}") for i, name in enumerate(static.input[:2])]
        elif f"{node.name}_quant" in self._kernels:
            inputs = [self._on_the_fly(node.input[0], node.name), self._weight(node.input[1], node.name)]
        else:
            return False
        self._compare(node, [*inputs, *node.input[2:]])
        return True

    def _through(self, name: str, prefix: str) -> str:
        """Rebuild a static quantiser and dequantiser on the float value they were put on."""
        dequantize = self._made[name]
        quantize = self._made.get(dequantize.input[0])
        for constant in dequantize.input[1:]:
            self._copy(constant)
        source = dequantize.input[0]
        if quantize is None:
            self._copy(source)
        else:
            for constant in quantize.input[1:]:
                self._copy(constant)
            source = self._node("QuantizeLinear", [quantize.input[0], *quantize.input[1:]], f"{prefix}_q", quantize.attribute)
        return self._node("DequantizeLinear", [source, *dequantize.input[1:]], f"{prefix}_dq", dequantize.attribute)

    def _on_the_fly(self, source: str, prefix: str) -> str:
        parts = [f"{prefix}{_SUFFIX}_{part}" for part in ("value", "scale", "zero")]
        self.model.graph.node.append(self._onnx.helper.make_node("DynamicQuantizeLinear", [source], parts))
        return self._node("DequantizeLinear", parts, f"{prefix}_dq", ())

    def _weight(self, name: str, prefix: str) -> str:
        parts = [f"{name}_{part}" for part in ("quantized", "scale", "zero_point")]
        for constant in parts:
            self._copy(constant)
        per_channel = len(self._constants[parts[1]].dims) == 1
        axis = [self._onnx.helper.make_attribute("axis", len(self._constants[parts[0]].dims) - 1)] if per_channel else []
        return self._node("DequantizeLinear", parts, f"{prefix}_weight", axis)

    def _compare(self, node: NodeProto, inputs: list[str]) -> None:
        probe = self._node(node.op_type, inputs, f"{node.name}_probe", node.attribute)
        difference = self._node("Sub", [probe, node.output[0]], f"{node.name}_difference", ())
        for part, value in (("_error", difference), ("_size", node.output[0])):
            name = f"{node.name}{_SUFFIX}{part}"
            keep = self._onnx.helper.make_attribute("keepdims", 0)
            total = self._onnx.helper.make_node("ReduceSumSquare", [value], [name])
            total.attribute.append(keep)
            self.model.graph.node.append(total)
            self.model.graph.output.append(self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, []))

    def _node(self, kind: str, inputs: Sequence[str], name: str, attributes: Any) -> str:
        output = f"{name}{_SUFFIX}"
        node = self._onnx.helper.make_node(kind, list(inputs), [output], name=output)
        node.attribute.extend(attributes)
        self.model.graph.node.append(node)
        return output

    def _copy(self, name: str) -> None:
        if name not in self._present:
            self.model.graph.initializer.append(self._constants[name])
            self._present.add(name)
