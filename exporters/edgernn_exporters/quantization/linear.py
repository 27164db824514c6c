"""Read MatMul and Gemm nodes with constant weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgernn_exporters.quantization.graph import Floats, GraphEditor
from edgernn_exporters.quantization.layers import KeepError, name_of, require_few_inputs
from edgernn_exporters.quantization.recurrent import attributes_of


@dataclass(frozen=True)
class Linear:
    """A linear layer ``y = x @ weight + bias``.

    Attributes:
        name: Of the layer.
        x: Name of its input.
        weight: ``[K, N]``.
        bias: ``[N]``; None where there is none.
        output: Name of y.
    """

    name: str
    x: str
    weight: Floats
    bias: Floats | None
    output: str


def read_linear(graph: GraphEditor, node: onnx.NodeProto, most: int | None = None) -> Linear:
    """Read a MatMul, with the Add of a bias behind it, or a Gemm.

    Args:
        graph: With the node.
        node: The node.
        most: Inputs that it may have, or None.

    Raises:
        KeepError: It has another form, or more inputs.
    """
    read = _read_matmul if node.op_type == "MatMul" else _read_gemm
    return read(graph, node, most)


def _read_matmul(graph: GraphEditor, node: onnx.NodeProto, most: int | None) -> Linear:
    weight = graph.constant(node.input[1])
    if weight is None or weight.ndim != 2:
        raise KeepError("the second factor is not a constant float matrix of its own")
    require_few_inputs(len(weight), most)
    output, bias = node.output[0], None
    add = graph.sole_consumer(output, "Add")
    if add is not None:
        other = add.input[1] if add.input[0] == output else add.input[0]
        bias = graph.constant(other)
        if bias is not None and bias.shape == (weight.shape[1],):
            graph.skip(add)
            output = add.output[0]
        else:
            bias = None
    return Linear(name_of(node), node.input[0], weight, bias, output)


def _read_gemm(graph: GraphEditor, node: onnx.NodeProto, most: int | None) -> Linear:
    attributes = attributes_of(node)
    weight = graph.constant(node.input[1])
    if weight is None:
        raise KeepError("the weights are not a constant")
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0:
        raise KeepError("transA or alpha is set")
    if attributes.get("transB", 0):
        weight = weight.T
    require_few_inputs(len(weight), most)
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        rows = ((), (1,), (1, 1), (weight.shape[1],), (1, weight.shape[1]))
        if bias is None or bias.shape not in rows or attributes.get("beta", 1.0) != 1.0:
            raise KeepError("the bias is not a constant row, or beta is set")
        bias = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (weight.shape[1],)))
    return Linear(name_of(node), node.input[0], weight, bias, node.output[0])
