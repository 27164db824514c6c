"""Rewrite a float graph to precision ``int8-dynamic``: 8-bit weights, inputs scaled on the fly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgernn.errors import ModelError
from edgernn_exporters.quantization.graph import Floats, GraphEditor
from edgernn_exporters.quantization.weights import quantize_weight


@dataclass(frozen=True)
class KeptFloat:
    """Name a node that stayed float, and why."""

    node: str
    reason: str


class _UnsupportedError(Exception):
    """Say why a node stays float."""


def quantize_dynamic(model: onnx.ModelProto) -> tuple[list[str], list[KeptFloat]]:
    """Quantize the recurrent and linear nodes of a model in place.

    Args:
        model: A float model; one older than opset 18 is converted.

    Returns:
        Names of the quantized nodes, and the nodes of the same kinds that stayed float.

    Raises:
        ModelError: Weights are not finite or do not fit their node, or an old opset cannot be
            converted.
    """
    graph = GraphEditor(model)
    done: list[str] = []
    kept: list[KeptFloat] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes():
        rewrite = _REWRITES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        label = f"{node.op_type} {node.name or node.output[0]}"
        if rewrite is None:
            nodes.append(node)
            continue
        try:
            nodes.extend(rewrite(graph, node))
            done.append(label)
        except _UnsupportedError as reason:
            nodes.append(node)
            kept.append(KeptFloat(label, str(reason)))
    graph.finish(nodes)
    return done, kept


def _linear(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Rewrite ``MatMul`` with constant weights, and the ``Add`` of a bias behind it."""
    weight = graph.constant(node.input[1])
    if weight is None or weight.ndim != 2:
        raise _UnsupportedError("the second factor is not a constant float matrix")
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
    return [_linear_call(graph, node.input[0], node.input[1], weight, bias, output)]


def _gemm(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Rewrite ``Gemm`` with constant weights and factors of 1."""
    attributes = _attributes(node)
    weight = graph.constant(node.input[1])
    if weight is None:
        raise _UnsupportedError("the weights are not a constant")
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0:
        raise _UnsupportedError("transA or alpha is set")
    if attributes.get("transB", 0):
        weight = weight.T
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        rows = ((), (1,), (1, 1), (weight.shape[1],), (1, weight.shape[1]))
        if bias is None or bias.shape not in rows or attributes.get("beta", 1.0) != 1.0:
            raise _UnsupportedError("the bias is not a constant row, or beta is set")
        bias = np.broadcast_to(bias.reshape(-1), (weight.shape[1],))
    return [_linear_call(graph, node.input[0], node.input[1], weight, bias, node.output[0])]


def _linear_call(
    graph: GraphEditor, x: str, name: str, weight: Floats, bias: Floats | None, output: str
) -> onnx.NodeProto:
    quantized = quantize_weight(weight, name)
    zeros = np.zeros(weight.shape[1], np.float32)
    inputs = [
        x,
        graph.add(f"{name}.q", quantized.values),
        graph.add(f"{name}.scale", quantized.scale),
        graph.add(f"{name}.bias", zeros if bias is None else np.ascontiguousarray(bias)),
    ]
    return graph.call("LinearInt8Dynamic", inputs, [output])


@dataclass(frozen=True)
class _Layer:
    """One recurrent node, with its optional inputs and attributes resolved."""

    node: onnx.NodeProto
    attributes: dict[str, Any]
    w: Floats
    r: Floats
    b: Floats
    gates: int
    hidden: int
    reverse: tuple[bool, ...]


_DIRECTIONS = {b"forward": (False,), b"reverse": (True,), b"bidirectional": (False, True)}


def _read_layer(graph: GraphEditor, node: onnx.NodeProto, gates: int) -> _Layer:
    attributes = _attributes(node)
    inputs = [*node.input, *[""] * 8]
    w, r = graph.constant(inputs[1]), graph.constant(inputs[2])
    if w is None or r is None:
        raise _UnsupportedError("the weights are not constants")
    direction = attributes.get("direction", b"forward")
    reverse = _DIRECTIONS.get(direction)
    if reverse is None:
        raise ModelError(
            f"node {node.name or node.output[0]!r} has the unknown direction {direction!r}; "
            f"export the model again"
        )
    directions = len(reverse)
    hidden: int = attributes.get("hidden_size") or r.shape[-1]
    b = np.zeros((directions, 2 * gates * hidden), np.float32)
    if inputs[3]:
        constant = graph.constant(inputs[3])
        if constant is None:
            raise _UnsupportedError("the bias is not a constant")
        b = constant
    if inputs[4]:
        raise _UnsupportedError("sequence_lens is given")
    if attributes.get("layout", 0):
        raise _UnsupportedError("layout=1")
    if attributes.get("clip", 0.0):
        raise _UnsupportedError("clip is set")
    rows = gates * hidden
    shapes = ((directions, rows, w.shape[-1]), (directions, rows, hidden), (directions, 2 * rows))
    if (w.shape, r.shape, b.shape) != shapes:
        raise ModelError(
            f"node {node.name or node.output[0]!r} has weights of shapes {list(w.shape)}, "
            f"{list(r.shape)} and {list(b.shape)}, but hidden_size {hidden} and its direction "
            f"need {', '.join(str(list(shape)) for shape in shapes)}; export the model again"
        )
    return _Layer(node, attributes, w, r, b, gates, hidden, reverse)


def _require_activations(layer: _Layer, default: list[bytes]) -> None:
    given = layer.attributes.get("activations")
    if given and [name.lower() for name in given] != [
        name.lower() for name in default * len(layer.reverse)
    ]:
        raise _UnsupportedError("activations other than the default ones are set")


def _lstm(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    layer = _read_layer(graph, node, 4)
    _require_activations(layer, [b"Sigmoid", b"Tanh", b"Tanh"])
    if len(node.input) > 7 and node.input[7]:
        raise _UnsupportedError("peepholes are given")
    if layer.attributes.get("input_forget", 0):
        raise _UnsupportedError("input_forget is set")

    return _per_direction(graph, layer, "LSTMInt8Dynamic", _plain_weights(graph, layer), states=2)


def _gru(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    layer = _read_layer(graph, node, 3)
    _require_activations(layer, [b"Sigmoid", b"Tanh"])
    hidden = layer.hidden
    after = bool(layer.attributes.get("linear_before_reset", 0))

    def weights(d: int, name: str) -> list[str]:
        input_bias, recurrent_bias = layer.b[d].reshape(2, -1)
        summed = input_bias + recurrent_bias
        if after:
            summed = np.concatenate([summed[: 2 * hidden], input_bias[2 * hidden :]])
            last = [*_matrix(graph, name, layer.r[d], "R"),
                    graph.add(f"{name}.rb", recurrent_bias[2 * hidden :])]  # fmt: skip
        else:
            gates, candidate = layer.r[d][: 2 * hidden], layer.r[d][2 * hidden :]
            last = [*_matrix(graph, name, gates, "R"), *_matrix(graph, name, candidate, "Rh")]
        return [*_matrix(graph, name, layer.w[d], "W"), graph.add(f"{name}.b", summed), *last]

    name = "GRUInt8Dynamic" if after else "GRUResetBeforeInt8Dynamic"
    return _per_direction(graph, layer, name, weights, states=1)


def _rnn(graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    layer = _read_layer(graph, node, 1)
    activations = layer.attributes.get("activations") or [b"Tanh"]
    kinds = {bytes(name).lower() for name in activations}
    functions = {b"tanh": "RNNTanhInt8Dynamic", b"relu": "RNNReluInt8Dynamic"}
    kind = kinds.pop()
    if kinds or kind not in functions:
        raise _UnsupportedError("activations other than one of Tanh and Relu are set")

    return _per_direction(graph, layer, functions[kind], _plain_weights(graph, layer), states=1)


Weights = Callable[[int, str], list[str]]


def _plain_weights(graph: GraphEditor, layer: _Layer) -> Weights:
    """Return what adds ``w, ws, wb, r, rs`` of one direction, with both biases summed."""

    def weights(d: int, name: str) -> list[str]:
        bias = layer.b[d].reshape(2, -1).sum(axis=0)
        w, r = _matrix(graph, name, layer.w[d], "W"), _matrix(graph, name, layer.r[d], "R")
        return [*w, graph.add(f"{name}.b", bias), *r]

    return weights


def _matrix(graph: GraphEditor, name: str, weight: Floats, letter: str) -> list[str]:
    """Add a weight matrix, given as ONNX's ``[G*H, K]``; return the names of values and scales."""
    quantized = quantize_weight(np.ascontiguousarray(weight.T), f"{name}.{letter}")
    return [
        graph.add(f"{name}.{letter}", quantized.values),
        graph.add(f"{name}.{letter}s", quantized.scale),
    ]


def _per_direction(
    graph: GraphEditor, layer: _Layer, function: str, weights: Weights, *, states: int
) -> list[onnx.NodeProto]:
    """Call a function once for each direction and join the results as the node did."""
    node, directions = layer.node, len(layer.reverse)
    x = node.input[0]
    base = node.input[2].removesuffix("R") if node.input[2] else node.name
    nodes: list[onnx.NodeProto] = []
    starts: list[list[str]] = []
    for index in range(states):
        given = node.input[5 + index] if len(node.input) > 5 + index else ""
        made, names = _initial_states(graph, x, given, directions, layer.hidden)
        nodes += made
        starts.append(names)
    sequences: list[str] = []
    lasts: list[list[str]] = [[] for _ in range(states)]
    for d, reverse in enumerate(layer.reverse):
        name = graph.unique(f"{base}.{'reverse' if reverse else 'forward'}")
        outputs = [graph.unique(f"{name}.y"), *(graph.unique(f"{name}.{s}") for s in "hc"[:states])]
        inputs = [x, *weights(d, name), *(names[d] for names in starts)]
        nodes.append(graph.call(function, inputs, outputs, reverse=[int(reverse)]))
        sequences.append(outputs[0])
        for index in range(states):
            lasts[index].append(outputs[1 + index])
    outputs = [*node.output, "", "", ""]
    nodes += _join_sequences(graph, sequences, outputs[0])
    for names, output in zip(lasts, outputs[1:], strict=False):
        if output:
            nodes.append(helper.make_node("Concat", names, [output], axis=0))
    return _without_copies(nodes)


def _without_copies(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Drop joins of a single part; its producer writes under the final name instead."""
    copies = [n for n in nodes if n.op_type in ("Concat", "Identity") and len(n.input) == 1]
    renamed = {node.input[0]: node.output[0] for node in copies}
    kept = [node for node in nodes if node not in copies]
    for node in kept:
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return kept


def _initial_states(
    graph: GraphEditor, x: str, given: str, directions: int, hidden: int
) -> tuple[list[onnx.NodeProto], list[str]]:
    """Return one ``[1, B, H]`` state for each direction: given, or zeros."""
    if given and directions == 1:
        return [], [given]
    names = [graph.unique(f"{given or x}.start") for _ in range(directions)]
    if given:
        return [helper.make_node("Split", [given], names, axis=0, num_outputs=directions)], names
    batch, shape = graph.unique(f"{x}.batch"), graph.unique(f"{x}.state_shape")
    one = graph.add("one", np.array([1], np.int64))
    size = graph.add("hidden_size", np.array([hidden], np.int64))
    zeros = [helper.make_node("ConstantOfShape", [shape], [name]) for name in names]
    return [
        helper.make_node("Shape", [x], [batch], start=1, end=2),
        helper.make_node("Concat", [one, batch, size], [shape], axis=0),
        *zeros,
    ], names


def _join_sequences(graph: GraphEditor, parts: list[str], output: str) -> list[onnx.NodeProto]:
    """Bring ``[T, B, H]`` of each direction to the node's ``[T, D, B, H]``.

    Where the graph at once turns that into ``[T, B, D*H]``, as our export writes it, that is
    produced directly.
    """
    if not output:
        return []
    squeeze = graph.sole_consumer(output, "Squeeze")
    if squeeze is not None and len(parts) == 1 and _constant_input(graph, squeeze) == [1]:
        graph.skip(squeeze)
        return [helper.make_node("Identity", parts, [squeeze.output[0]])]
    transpose = graph.sole_consumer(output, "Transpose")
    if transpose is not None and _attributes(transpose).get("perm") == [0, 2, 1, 3]:
        reshape = graph.sole_consumer(transpose.output[0], "Reshape")
        if reshape is not None and _constant_input(graph, reshape) == [0, 0, -1]:
            graph.skip(transpose)
            graph.skip(reshape)
            return [helper.make_node("Concat", parts, [reshape.output[0]], axis=-1)]
    axes = graph.add("axis", np.array([1], np.int64))
    raised = [graph.unique(f"{part}.4d") for part in parts]
    return [
        *(
            helper.make_node("Unsqueeze", [a, axes], [b])
            for a, b in zip(parts, raised, strict=True)
        ),
        helper.make_node("Concat", raised, [output], axis=1),
    ]


def _constant_input(graph: GraphEditor, node: onnx.NodeProto) -> list[int] | None:
    return graph.integers(node.input[1]) if len(node.input) > 1 else None


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


_REWRITES: dict[str, Callable[[GraphEditor, onnx.NodeProto], list[onnx.NodeProto]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
    "MatMul": _linear,
    "Gemm": _gemm,
}
