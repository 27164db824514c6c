"""Read ONNX nodes: which operator, its attributes, the graphs in it, its name for messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import helper

STANDARD = ("", "ai.onnx")
"""The domain of ONNX's own operators, in both spellings."""


def is_standard(node: onnx.NodeProto, *op_types: str) -> bool:
    """Tell whether a node is one of these ONNX operators."""
    return node.op_type in op_types and node.domain in STANDARD


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the values of a node's attributes."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs among a node's attributes."""
    for _, graph in named_subgraphs(node):
        yield graph


def named_subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Yield the graphs among a node's attributes, with the names of those."""
    for entry in node.attribute:
        for graph in [entry.g] if entry.HasField("g") else entry.graphs:
            yield entry.name, graph


def name_of(node: onnx.NodeProto) -> str:
    """Return the name of a node, or of its first output where it has none; else its operator.

    Example:
        >>> name_of(helper.make_node("Split", ["x"], ["", "y"]))
        'y'
    """
    return node.name or next(filter(None, node.output), node.op_type)
