"""Find the layers of a float graph whose inputs need a range: those that the quantizer takes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgernn.errors import ModelError
from edgernn_exporters.quantization.graph import GraphEditor
from edgernn_exporters.quantization.layers import KeepError, is_layer, name_of
from edgernn_exporters.quantization.linear import read_linear
from edgernn_exporters.quantization.recurrent import GATES, Recurrent, read_recurrent


@dataclass(frozen=True)
class Layer:
    """Name one layer that can be quantized, and the tensor that it takes in.

    Attributes:
        name: Its key in `edgernn.integer.Ranges`.
        operator: ``"LSTM"``, ``"GRU"``, ``"RNN"``, ``"MatMul"``, ``"Gemm"`` or ``"Conv"``.
        x: Name of its input.
        starts: Names of the tensors with the first h and c; empty names where they are zero.
        lengths: Name of the tensor with the steps of each row; empty if all rows have all.
        recurrent: What a recurrent layer is made of; None for the others.
    """

    name: str
    operator: str
    x: str
    starts: tuple[str, ...] = ()
    lengths: str = ""
    recurrent: Recurrent | None = None


def find_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Return the layers with constant float weights, in the order of the graph.

    Embeddings have no range, and layers that stay float in any precision are left out.

    Raises:
        ModelError: Weights do not fit their node, or two layers have the same name.
    """
    graph = GraphEditor(model, opset=0)
    found = []
    for node in graph.nodes():
        if is_layer(graph, node):
            try:
                layer = _read(graph, node)
            except KeepError:
                continue
            found += [layer] if layer is not None else []
    names = [layer.name for layer in found]
    for name in names:
        if names.count(name) > 1:
            raise ModelError(
                f"two layers are named {name!r}, so their ranges cannot be told apart; give each "
                f"node a name of its own, or none"
            )
    return tuple(found)


def _read(graph: GraphEditor, node: onnx.NodeProto) -> Layer | None:
    name, operator, x = name_of(node), node.op_type, node.input[0]
    if operator in GATES:
        alone = onnx.NodeProto()  # a node of the model would keep all of it in memory
        alone.CopyFrom(node)
        recurrent = read_recurrent(graph, alone)
        starts = tuple(first for first, _ in recurrent.states())
        return Layer(name, operator, x, starts, recurrent.lengths, recurrent)
    if operator in ("MatMul", "Gemm"):
        read_linear(graph, node)  # raises where it stays float
        return Layer(name, operator, x)
    if operator == "Conv" and graph.constant(node.input[1]) is not None:
        return Layer(name, operator, x)
    return None
