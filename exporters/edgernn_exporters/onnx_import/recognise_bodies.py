"""Put recurrent nodes in place of a loop whose body holds more than one step of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgernn_exporters.onnx_import.editing import RECURRENT, Editor, before, reads
from edgernn_exporters.onnx_import.lifting import LEAD, Lifted, Lifter, LiftError
from edgernn_exporters.onnx_import.lifting_rules import RULES
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise_affine import Affine, Values
from edgernn_exporters.onnx_import.recognise_chains import chains
from edgernn_exporters.onnx_import.recognise_write import Writer
from edgernn_exporters.onnx_import.tracing import frozen, shapes_of
from edgernn_exporters.onnx_nodes import attributes, is_standard

_BATCH = 10007
"""Stands for a batch with a name; a prime, so that no other size is taken for it."""


@dataclass(frozen=True)
class Repetition:
    """A time loop, whichever operator it is.

    Attributes:
        body: What is done each step; its inputs are the states, then the steps of sequences.
        states: Their first values, in the outer graph.
        sequences: Names in the outer graph and axis of time, for the other inputs of the body.
        stacked: Axis along which each output that is no state grows.
        reverse: True if it runs from the last step to the first, and so are its outputs.
    """

    body: onnx.GraphProto
    states: list[str]
    sequences: list[tuple[str, int]]
    stacked: list[int]
    reverse: bool


@dataclass(frozen=True)
class _Product:
    """A sequence ``source @ matrix + bias`` that the outer graph computes for all steps."""

    source: str
    swap: bool
    affine: Affine


def write_body(
    editor: Editor, node: onnx.NodeProto, loop: Repetition, body: onnx.ModelProto, outer: Values
) -> list[onnx.NodeProto] | None:
    """Return what stands in place of a loop, or None if it is no such loop.

    Steps of layers in the body become nodes over the sequence, as does all that is before and
    behind them. Each state must be one of a layer, and nothing else may read it. A product with
    W that was taken out of the loop becomes the node's again.

    Args:
        editor: Of the outer graph; receives constants.
        node: Scan or Loop.
        loop: What it does.
        body: Its body as a model, with the constants that it reads.
        outer: Values of the outer graph.
    """
    if not {axis for _, axis in loop.sequences} | set(loop.stacked) <= {0, 1, -2, -3}:
        return None
    names = [value.name for value in body.graph.input]
    steps = dict(zip(names[len(loop.states) :], loop.sequences, strict=True))
    products = {
        name: found for name, (sequence, axis) in steps.items()
        if (found := _product(outer, sequence, axis)) is not None
    }  # fmt: skip
    values = Values(body, leaves=products)
    lines = chains(values, Notes())
    if not lines or any(len(line) > 1 for line in lines):
        return None
    if any(name in products and cell.x != (name,) for (cell,) in lines for name in cell.x):
        return None
    own = Editor(body)
    outside = {*loop.states, *(name for name, _ in loop.sequences), *filter(None, node.output)}
    outside |= {found.source for found in products.values()}
    for name in outside:
        own.unique(name)  # so that no value of the body gets it
    Writer(own, values, Notes()).write(lines)
    own.clean()
    try:
        nodes = _over_time(own, node, loop, steps, products)
    except LiftError:
        return None
    return _moved(editor, own, nodes, outer, outside)


def _product(outer: Values, name: str, axis: int) -> _Product | None:
    """Return a sequence [time, batch, width] or [batch, time, width] as a product, if it is one."""
    if len(outer.shapes.get(name, ())) != 3:
        return None
    bias: list[np.ndarray] = []
    swap = axis == 1
    while (node := outer.made_by(name, "Add", "Transpose", "Identity", "MatMul")) is not None:
        if node.op_type == "Identity":
            name = node.input[0]
        elif node.op_type == "Transpose":
            if list(attributes(node).get("perm", ())) != [1, 0, 2]:
                return None
            name, swap = node.input[0], not swap
        elif node.op_type == "Add":
            found = [(outer.floats(one), two) for one, two in
                     (node.input, reversed(list(node.input)))]  # fmt: skip
            added = [(value, rest) for value, rest in found if value is not None]
            if len(added) != 1 or added[0][0].ndim != 1:
                return None
            bias.append(added[0][0])
            name = added[0][1]
        else:
            matrix = outer.floats(node.input[1])
            if matrix is None or matrix.ndim != 2 or outer.rank(node.input[0]) != 3:
                return None
            total = np.zeros(matrix.shape[1], np.float32)
            if any(part.shape[0] not in (1, len(total)) for part in bias):
                return None
            for part in bias:
                total = total + part
            return _Product(node.input[0], swap, Affine({node.input[0]: matrix}, total))
    return None


def _over_time(
    own: Editor, node: onnx.NodeProto, loop: Repetition, steps: dict[str, tuple[str, int]],
    products: dict[str, _Product],
) -> list[onnx.NodeProto]:  # fmt: skip
    """Return the nodes; what is not of the outer graph has a name in the body."""
    graph = own.graph
    made = {name: n for n in graph.node for name in n.output if name}
    given = [value.name for value in graph.input][: len(loop.states)]
    results = [before(made, value.name, "Identity") for value in graph.output]
    layers = [n for n in graph.node if is_standard(n, *RECURRENT)]
    states: dict[str, str] = {}
    ahead: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    skipped: list[onnx.NodeProto] = []
    for layer in layers:
        count = 2 if layer.op_type == "LSTM" else 1
        for state, last in zip(layer.input[5 : 5 + count], layer.output[1:], strict=True):
            view = made.get(state)
            at = given.index(view.input[0]) if view and view.input[0] in given else -1
            back = made.get(results[at])
            if at < 0 or view is None or not back or back.input[0] != last:
                raise LiftError(f"{layer.name} does not hand its state on")
            states |= {state: last, given[at]: ""}
            skipped.append(view)
            ahead.append(helper.make_node("Unsqueeze", [loop.states[at], view.input[1]], [state]))
            if node.output[at]:
                after.append(helper.make_node("Squeeze", [last, view.input[1]], [node.output[at]]))
    if {name for name in states if name in given} != set(given) or len(after) > len(given):
        raise LiftError("the loop has a state that is none of a layer")
    lifter = Lifter(own, _sizes(own.model), states, RULES)
    for name, (sequence, axis) in steps.items():
        lifter.put(name, Lifted(lifter.swung(sequence, 3, axis % 3, 0), LEAD))
    lifter.add_all(n for n in graph.node if n not in skipped)
    for value, axis, output in zip(
        graph.output[len(given) :], loop.stacked, node.output[len(given) :], strict=True
    ):
        if output and lifter.get(value.name) is None:
            raise LiftError(f"{output} is the same in each step")
        if output:
            held = lifter.lead(value.name)
            after.append(
                helper.make_node("Transpose", [held], [output], perm=[1, 0, 2])
                if axis in (1, -2) else helper.make_node("Identity", [held], [output])
            )  # fmt: skip
    for name, found in products.items():
        _fold(own, lifter, lifter.lead(name), found)
    for layer in lifter.nodes:
        if loop.reverse and is_standard(layer, *RECURRENT):
            layer.attribute.append(helper.make_attribute("direction", "reverse"))
    return [*ahead, *lifter.nodes, *after]


def _fold(own: Editor, lifter: Lifter, sequence: str, found: _Product) -> None:
    """Let layers read what a product reads, and do the product themselves."""
    tensors = {tensor.name: tensor for tensor in own.graph.initializer}
    for layer in [n for n in lifter.nodes if is_standard(n, *RECURRENT)]:
        if layer.input[0] != sequence:
            continue
        (matrix,) = found.affine.matrices.values()
        w, b = (numpy_helper.to_array(tensors[layer.input[at]]) for at in (1, 3))
        added = w[0] @ found.affine.bias
        layer.input[1] = own.constant(layer.input[1], (w[0] @ matrix.T)[None])
        layer.input[3] = own.constant(
            layer.input[3], b + np.concatenate([added, np.zeros_like(added)])[None]
        )
        source = found.source
        if found.swap:
            source = own.unique(f"{source}.turned")
            lifter.nodes.insert(0, helper.make_node("Transpose", [found.source], [source],
                                                    perm=[1, 0, 2]))  # fmt: skip
        layer.input[0] = source


def _moved(
    editor: Editor, own: Editor, nodes: list[onnx.NodeProto], outer: Values, outside: set[str]
) -> list[onnx.NodeProto]:
    """Give all names of a body's nodes and constants one that the outer graph does not use."""
    needed = {name for node in nodes for name in reads(node)}
    names: dict[str, str] = {}
    for tensor in own.graph.initializer:
        if tensor.name in needed and outer.tensor(tensor.name) is None:
            names[tensor.name] = editor.constant(tensor.name, numpy_helper.to_array(tensor))
    for name in (name for node in nodes for name in node.output):
        if name and name not in outside:
            names[name] = editor.unique(name)
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return nodes


def _sizes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the sizes of a body's values; there is one name at most, that of the batch."""
    return shapes_of(frozen(model, lambda _: _BATCH))
