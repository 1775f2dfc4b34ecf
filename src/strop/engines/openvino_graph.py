"""Building OpenVINO graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openvino import Node, Output


def clone(node: Node, inputs: list[Output]) -> Node:
    """Return a new operator of the same kind and attributes with other inputs."""
    from openvino.utils.node_factory import NodeFactory

    return NodeFactory(node.get_type_info().version_id).create(node.get_type_name(), inputs, node.get_attributes())
