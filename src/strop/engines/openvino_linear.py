"""Linear layers as convolutions of width one: the same sums, by kernels that share a layer out between threads better.

On two cores BERT's shape in int8, 128 rows of 768 channels, answers 1.08 times sooner (a trial of ``examples/bert_random``
says so). With few rows or narrow layers products are as fast or faster, so this is a choice to be measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strop.engines.openvino_graph import clone

if TYPE_CHECKING:
    from openvino import Model, Node, Output

_ACTIVATIONS = frozenset({"Gelu", "Relu", "Sigmoid", "Tanh", "Swish", "HSwish", "Mish", "Elu"})
_BY_CHANNEL = frozenset({"Add", "Multiply"})
_SCALING = frozenset({"Convert", "Multiply", "Subtract", "FakeQuantize"})
_SWAP = [0, 2, 1]


def as_convolutions(model: Model) -> int:
    """Rewrite products of activations (batch, rows, channels), any batch, with constant weights; return how many.

    The transposes around a convolution cost nothing: they say what its memory layout is already. So that bias, activation and
    quantisation of the answer still join the convolution, they are moved before the transpose that follows it.
    """
    from openvino import opset13

    products = [op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul" and _linear(op)]
    for product in products:
        answer = opset13.convolution(_channels_first(product.input_value(0)), _lift(product.input_value(1)), [1], [0], [0], [1])
        last = product
        while (following := _follower(last)) is not None:
            answer, last = _moved(following, last, answer), following
        swapped = opset13.transpose(answer, opset13.constant(_SWAP))
        swapped.set_friendly_name(last.get_friendly_name())
        last.output(0).replace(swapped.output(0))
    model.validate_nodes_and_infer_types()
    return len(products)


def _linear(product: Node) -> bool:
    shape, flags = product.input_value(0).get_partial_shape(), product.get_attributes()
    if len(shape) != 3 or shape[1].is_dynamic or shape[2].is_dynamic or flags["transpose_a"] or not flags["transpose_b"]:
        return False
    weights = product.input_value(1)
    return len(weights.get_partial_shape()) == 2 and _constant(weights)


def _constant(value: Output) -> bool:
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return True
    return node.get_type_name() in _SCALING and all(map(_constant, node.input_values()))


def _lift(value: Output) -> Output:
    """Return weights (out, in) as (out, in, 1), with what scales them."""
    from openvino import opset13

    node = value.get_node()
    if node.get_type_name() != "Constant":
        return clone(node, [_lift(part) for part in node.input_values()]).output(0)
    shape = list(value.get_shape())
    return value if len(shape) < 2 else opset13.reshape(value, opset13.constant([*shape, 1]), False).output(0)


def _channels_first(value: Output) -> Output:
    """Return (batch, channels, rows); what was transposed just before is taken as it was."""
    from openvino import opset13

    node = value.get_node()
    if node.get_type_name() == "Transpose" and _numbers(node.input_value(1)) == _SWAP:
        return node.input_value(0)
    return opset13.transpose(value, opset13.constant(_SWAP)).output(0)


def _follower(node: Node) -> Node | None:
    """Return the only reader of a node's answer if it works on each number by itself, or adds or scales by channel."""
    readers = list(node.output(0).get_target_inputs())
    if len(readers) != 1:
        return None
    reader = readers[0].get_node()
    kind, others = reader.get_type_name(), [v for v in reader.input_values() if v.get_node() != node]
    if kind in _ACTIVATIONS:
        return reader if not others else None
    if kind in _BY_CHANNEL:
        by_channel = len(others) == 1 and _constant(others[0]) and _per_channel(others[0], node)
        return reader if by_channel else None
    single = kind == "FakeQuantize" and all(_constant(v) and np.prod(v.get_shape()) == 1 for v in others)
    return reader if single else None


def _per_channel(value: Output, node: Node) -> bool:
    shape = list(value.get_shape())
    return shape == [1] * (len(shape) - 1) + [_channel_count(node)]


def _channel_count(node: Node) -> int:
    return int(node.output(0).get_partial_shape()[-1].get_length())


def _moved(reader: Node, before: Node, answer: Node) -> Node:
    from openvino import opset13

    inputs = []
    for value in reader.input_values():
        if value.get_node() == before:
            inputs.append(answer.output(0))
        elif reader.get_type_name() in _BY_CHANNEL:
            inputs.append(opset13.reshape(value, opset13.constant([1, _channel_count(before), 1]), False).output(0))
        else:
            inputs.append(value)
    moved = clone(reader, inputs)
    moved.set_friendly_name(f"{reader.get_friendly_name()}/channels_first")
    return moved


def _numbers(value: Output) -> list[int]:
    node = value.get_node()
    return [int(n) for n in node.get_data().ravel()] if node.get_type_name() == "Constant" else []
