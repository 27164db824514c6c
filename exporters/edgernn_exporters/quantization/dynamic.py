"""Precision ``int8-dynamic``: 8-bit weights, inputs scaled on the fly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from edgernn.integer.weights import quantize_rows
from edgernn_exporters.quantization.forms import Rewrite
from edgernn_exporters.quantization.graph import Floats, GraphEditor
from edgernn_exporters.quantization.linear import read_linear
from edgernn_exporters.quantization.recurrent import (
    Recurrent,
    call_directions,
    first_of_directions,
    join_sequences,
    read_recurrent,
    without_copies,
    zero_states,
)
from edgernn_exporters.quantization.weights import stored

OPSET = 18
"""Oldest opset whose operators the functions use."""


def rewrites() -> Mapping[str, Rewrite]:
    """Return what rewrites each operator."""
    return {
        **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
        **dict.fromkeys(("MatMul", "Gemm"), _linear),
    }


def _linear(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    layer = read_linear(graph, node)
    bias = np.zeros(layer.weight.shape[1], np.float32) if layer.bias is None else layer.bias
    inputs = [layer.x, *_weight(graph, layer.name, "w", layer.weight),
              graph.add(f"{layer.name}.b", bias)]  # fmt: skip
    return [graph.call("LinearInt8Dynamic", inputs, [layer.output], name=layer.name)]


def _recurrent(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    layer = read_recurrent(graph, node)

    def weights(d: int, base: str) -> list[str]:
        return _weights(graph, layer, d, base)

    nodes: list[onnx.NodeProto] = []
    starts: list[list[str]] = []
    for given, _ in layer.states():
        made, names = (
            first_of_directions(graph, given, len(layer.reverse)) if given
            else zero_states(graph, layer, "float32")
        )  # fmt: skip
        nodes += made
        starts.append(names)
    calls = call_directions(graph, layer, "Int8Dynamic", weights, starts)
    nodes += [*calls.nodes, *join_sequences(graph, calls.sequences, node.output[0])]
    for names, (_, output) in zip(calls.lasts, layer.states(), strict=True):
        if output:
            nodes.append(helper.make_node("Concat", names, [output], axis=0))
    return without_copies(nodes)


def _weights(graph: GraphEditor, layer: Recurrent, d: int, base: str) -> list[str]:
    """Add the constants of one direction; biases are summed where that is the same."""
    input_bias, recurrent_bias = layer.b[d].reshape(2, -1)
    bias, split = input_bias + recurrent_bias, 2 * layer.hidden_size
    w, r = layer.w[d].T, layer.r[d].T
    if layer.function == "GRU":
        bias = np.concatenate([bias[:split], input_bias[split:]])
        last = [*_weight(graph, base, "r", r), graph.add(f"{base}.rb", recurrent_bias[split:])]
    elif layer.function == "GRUResetBefore":
        last = [*_weight(graph, base, "r", r[:, :split]), *_weight(graph, base, "r2", r[:, split:])]
    else:
        last = _weight(graph, base, "r", r)
    return [*_weight(graph, base, "w", w), graph.add(f"{base}.b", bias), *last]


def _weight(graph: GraphEditor, base: str, letter: str, weight: Floats) -> list[str]:
    """Add a weight ``[K, N]``; return the names of its values and scales."""
    quantized = quantize_rows(weight, f"{base}.{letter}")
    return [
        graph.add(f"{base}.{letter}", stored(quantized.values, 8)),
        graph.add(f"{base}.{letter}s", quantized.scale),
    ]
