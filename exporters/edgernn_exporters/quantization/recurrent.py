"""Read LSTM, GRU and RNN nodes, and write them as one function call for each direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgernn.errors import ModelError
from edgernn_exporters.quantization.functions.loops import lengths_of, named
from edgernn_exporters.quantization.graph import Floats, GraphEditor
from edgernn_exporters.quantization.layers import KeepError, name_of

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DIRECTIONS = {b"forward": (False,), b"reverse": (True,), b"bidirectional": (False, True)}
_ACTIVATIONS = {
    "LSTM": [b"sigmoid", b"tanh", b"tanh"],
    "GRU": [b"sigmoid", b"tanh"],
    "RNN": [b"tanh"],
}


@dataclass(frozen=True)
class Recurrent:
    """One recurrent node, with its optional inputs and attributes resolved.

    Attributes:
        node: The node.
        cell: ``"LSTM"``, ``"GRU"`` or ``"RNN"``.
        w: ``[D, G*H, I]``.
        r: ``[D, G*H, H]``.
        b: ``[D, 2*G*H]``.
        reverse: For each direction, whether it walks backwards.
        linear_before_reset: PyTorch's form of the GRU.
        relu: True for an RNN with relu.
    """

    node: onnx.NodeProto
    cell: str
    w: Floats
    r: Floats
    b: Floats
    reverse: tuple[bool, ...]
    linear_before_reset: bool
    relu: bool

    @property
    def name(self) -> str:
        """Name of the layer."""
        return name_of(self.node)

    @property
    def hidden_size(self) -> int:
        """Units of one direction."""
        return int(self.r.shape[2])

    @property
    def function(self) -> str:
        """First part of the name of its function."""
        if self.cell == "RNN":
            return "RNNRelu" if self.relu else "RNNTanh"
        if self.cell == "GRU" and not self.linear_before_reset:
            return "GRUResetBefore"
        return self.cell

    @property
    def lengths(self) -> str:
        """Name of the steps of each row, int32 ``[B]``; empty if all rows have all."""
        return lengths_of(self.node)

    def states(self) -> list[tuple[str, str]]:
        """Return for each state the names of its first and its last value, empty where unused."""
        count = 2 if self.cell == "LSTM" else 1
        starts = [*self.node.input[5:], "", ""]
        ends = [*self.node.output[1:], "", ""]
        return list(zip(starts[:count], ends[:count], strict=True))


def read_recurrent(graph: GraphEditor, node: onnx.NodeProto) -> Recurrent:
    """Read a recurrent node.

    Raises:
        KeepError: It has a feature that no function has.
        ModelError: Its weights do not fit its attributes.
    """
    attributes = attributes_of(node)
    inputs = [*node.input, *[""] * 8]
    w, r = graph.constant(inputs[1]), graph.constant(inputs[2])
    if w is None or r is None:
        raise KeepError("the weights are not constants")
    direction = attributes.get("direction", b"forward")
    reverse = _DIRECTIONS.get(direction)
    if reverse is None:
        raise ModelError(
            f"node {name_of(node)!r} has the unknown direction {direction!r}; "
            f"export the model again"
        )
    directions = len(reverse)
    hidden: int = attributes.get("hidden_size") or r.shape[-1]
    rows = GATES[node.op_type] * hidden
    b = np.zeros((directions, 2 * rows), np.float32)
    if inputs[3]:
        constant = graph.constant(inputs[3])
        if constant is None:
            raise KeepError("the bias is not a constant")
        b = constant
    _require_plain(node, inputs, attributes)
    shapes = ((directions, rows, w.shape[-1]), (directions, rows, hidden), (directions, 2 * rows))
    if (w.shape, r.shape, b.shape) != shapes:
        raise ModelError(
            f"node {name_of(node)!r} has weights of shapes {list(w.shape)}, "
            f"{list(r.shape)} and {list(b.shape)}, but hidden_size {hidden} and its direction "
            f"need {', '.join(str(list(shape)) for shape in shapes)}; export the model again"
        )
    return Recurrent(
        node, node.op_type, w, r, b, reverse,
        linear_before_reset=bool(attributes.get("linear_before_reset", 0)),
        relu=_is_relu(node.op_type, attributes, directions),
    )  # fmt: skip


def _require_plain(node: onnx.NodeProto, inputs: list[str], attributes: dict[str, Any]) -> None:
    if attributes.get("layout", 0):
        raise KeepError("layout=1")
    if attributes.get("clip", 0.0):
        raise KeepError("clip is set")
    if node.op_type == "LSTM" and inputs[7]:
        raise KeepError("peepholes are given")
    if attributes.get("input_forget", 0):
        raise KeepError("input_forget is set")


def _is_relu(cell: str, attributes: dict[str, Any], directions: int) -> bool:
    given = [bytes(name).lower() for name in attributes.get("activations") or ()]
    if not given or given == _ACTIVATIONS[cell] * directions:
        return False
    if cell == "RNN" and set(given) == {b"relu"}:
        return True
    if cell == "RNN":
        raise KeepError("activations other than one of Tanh and Relu are set")
    raise KeepError("activations other than the default ones are set")


@dataclass
class Calls:
    """Hold the calls that stand for one node.

    Attributes:
        nodes: The calls.
        sequences: Names of ``[T, B, H]``, one for each direction.
        lasts: For each state, the names of its last value ``[1, B, H]`` in each direction.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)
    lasts: list[list[str]] = field(default_factory=list)


def call_directions(
    graph: GraphEditor,
    layer: Recurrent,
    suffix: str,
    weights: Callable[[int, str], list[str]],
    starts: list[list[str]],
) -> Calls:
    """Call a function once for each direction.

    Args:
        graph: To add to.
        layer: The node.
        suffix: Last part of the function's name.
        weights: Adds the constants of a direction, named after the given prefix; returns them.
        starts: For each state, the names of its first value ``[1, B, H]`` in each direction.
    """
    calls = Calls(lasts=[[] for _ in starts])
    function = named(layer.function, suffix, lengths=bool(layer.lengths))
    for d, reverse in enumerate(layer.reverse):
        base = layer.name
        if len(layer.reverse) == 2:
            base += ".reverse" if reverse else ".forward"
        sequence = graph.unique(f"{base}.y")
        lasts = [graph.unique(f"{base}.{letter}k") for letter in "hc"[: len(starts)]]
        inputs = [layer.node.input[0], *weights(d, base), *(names[d] for names in starts)]
        inputs += [layer.lengths] if layer.lengths else []
        attributes = {"reverse": [int(reverse)]} if reverse or layer.lengths else {}
        calls.nodes.append(
            graph.call(function, inputs, [sequence, *lasts], name=base, **attributes)
        )
        calls.sequences.append(sequence)
        for names, last in zip(calls.lasts, lasts, strict=True):
            names.append(last)
    return calls


def first_of_directions(
    graph: GraphEditor, given: str, directions: int
) -> tuple[list[onnx.NodeProto], list[str]]:
    """Cut a first state ``[D, B, H]`` into one ``[1, B, H]`` for each direction."""
    if directions == 1:
        return [], [given]
    names = [graph.unique(f"{given}.start") for _ in range(directions)]
    return [helper.make_node("Split", [given], names, axis=0, num_outputs=directions)], names


def zero_states(
    graph: GraphEditor, layer: Recurrent, dtype: str
) -> tuple[list[onnx.NodeProto], list[str]]:
    """Make a state of zeros ``[1, B, H]``; all directions read the same one."""
    x = layer.node.input[0]
    batch, shape, zeros = (graph.unique(f"{layer.name}.{part}") for part in ("b", "shape", "zeros"))
    one = graph.add("one", np.array([1], np.int64))
    size = graph.add("hidden_size", np.array([layer.hidden_size], np.int64))
    value = helper.make_tensor("", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [1], [0])
    return [
        helper.make_node("Shape", [x], [batch], start=1, end=2),
        helper.make_node("Concat", [one, batch, size], [shape], axis=0),
        helper.make_node("ConstantOfShape", [shape], [zeros], value=value),
    ], [zeros] * len(layer.reverse)


def join_sequences(graph: GraphEditor, parts: list[str], output: str) -> list[onnx.NodeProto]:
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
    if transpose is not None and attributes_of(transpose).get("perm") == [0, 2, 1, 3]:
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


def without_copies(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Drop joins of a single part; its producer writes under the final name instead."""
    copies = [n for n in nodes if n.op_type in ("Concat", "Identity") and len(n.input) == 1]
    renamed = {node.input[0]: node.output[0] for node in copies}
    kept = [node for node in nodes if node not in copies]
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return kept


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _constant_input(graph: GraphEditor, node: onnx.NodeProto) -> list[int] | None:
    return graph.integers(node.input[1]) if len(node.input) > 1 else None
