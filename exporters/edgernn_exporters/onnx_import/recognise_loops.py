"""Put recurrent nodes back where a Scan or a Loop runs the steps of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgernn_exporters.onnx_import.editing import RECURRENT, Editor, before, label, reads
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise_affine import Values
from edgernn_exporters.onnx_import.recognise_bodies import Repetition, write_body
from edgernn_exporters.onnx_import.recognise_cells import Cell, cells
from edgernn_exporters.onnx_import.recognise_write import recurrent_node
from edgernn_exporters.onnx_nodes import attributes, is_standard


def replace_loops(editor: Editor, values: Values, notes: Notes) -> bool:
    """Replace each Scan or Loop whose body is one step of LSTMs or GRUs.

    What a body does before and behind them may be anything that treats each step alike.

    Args:
        editor: Of the graph.
        values: Of the graph before any change.
        notes: Receives a sentence for each node.

    Returns:
        True if any was replaced.
    """
    nodes: list[onnx.NodeProto] = []
    changed = False
    for node in editor.graph.node:
        loop = _scan(node, values) if is_standard(node, "Scan") else None
        loop = _loop(node, values) if is_standard(node, "Loop") else loop
        body = _standalone(loop, values) if loop is not None else None
        if loop is None or body is None:
            nodes.append(node)
            continue
        cell = _cell(loop, body)
        more = write_body(editor, node, loop, body, values) if cell is None else None
        changed = changed or cell is not None or more is not None
        if more is not None:
            nodes += more
            kinds = " and ".join(sorted(n.op_type for n in more if is_standard(n, *RECURRENT)))
            notes.add(f"{label(node)}: its body holds steps of layers; they are {kinds} now.")
        elif cell is None:
            nodes.append(node)
        else:
            nodes += _written(editor, node, loop, cell)
            notes.add(f"{label(node)}: its body is one step of a layer, one {cell.op_type} now.")
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del editor.graph.node[:]
    editor.graph.node.extend(copies)
    return changed


def _scan(node: onnx.NodeProto, values: Values) -> Repetition | None:
    given = attributes(node)
    count = given["num_scan_inputs"]
    states = len(node.input) - count
    outputs = len(node.output) - states
    axes = given.get("scan_input_axes", [0] * count)
    stacked = given.get("scan_output_axes", [0] * outputs)
    directions = {
        *given.get("scan_input_directions", [0] * count),
        *given.get("scan_output_directions", [0] * outputs),
    }
    if len(directions) != 1:
        return None
    sequences = []
    for name, axis in zip(node.input[states:], axes, strict=True):
        rank = values.rank(name)
        if not rank:
            return None
        sequences.append((name, axis % rank))
    return Repetition(
        given["body"], list(node.input[:states]), sequences, list(stacked), directions == {1}
    )


def _loop(node: onnx.NodeProto, values: Values) -> Repetition | None:
    """Read a Loop over all steps of a sequence, which takes ``Gather(sequence, iteration)``."""
    body = onnx.GraphProto()
    body.CopyFrom(attributes(node)["body"])
    kind = body.input[0].type.tensor_type
    if not kind.HasField("shape") or kind.shape.dim:
        return None  # with one axis, a Gather by it has one more, too
    iteration, condition, *states = (value.name for value in body.input)
    on = body.output[0].name
    handed = [n for n in body.node if is_standard(n, "Identity") and n.output[0] == on
              and n.input[0] == condition]  # fmt: skip
    kept = [n for n in body.node if n not in handed]
    unconditional = on == condition or handed or _is_true(body, on)
    first = values.constant(node.input[1]) if node.input[1] else np.array(True)
    if not unconditional or first is None or not bool(first):
        return None
    taken = [n for n in kept if is_standard(n, "Gather") and n.input[1] == iteration]
    rest = [n for n in kept if n not in taken]
    if not taken or any(iteration in reads(n) or condition in reads(n) for n in rest):
        return None
    inner = {name for n in body.node for name in n.output} | {v.name for v in body.input}
    sequences = []
    for gather in taken:
        rank = values.rank(gather.input[0])
        axis = attributes(gather).get("axis", 0)
        if gather.input[0] in inner or not rank:
            return None
        sequences.append((gather.input[0], axis % rank))
    if any(not _is_length(values, node.input[0], *sequence) for sequence in sequences):
        return None
    outputs = list(body.output)[1:]
    inputs = [value for value in body.input if value.name in states]
    del body.node[:], body.input[:], body.output[:]
    body.node.extend(rest)
    body.input.extend(inputs)
    body.input.extend(helper.make_empty_tensor_value_info(n.output[0]) for n in taken)
    body.output.extend(outputs)
    stacked = [0] * (len(outputs) - len(states))
    return Repetition(body, list(node.input[2:]), sequences, stacked, reverse=False)


def _is_length(values: Values, trips: str, sequence: str, axis: int) -> bool:
    """Tell whether a Loop's number of trips is the size of this axis."""
    fixed = values.constant(trips)
    if fixed is not None:
        size = values.shapes.get(sequence, [])
        return fixed.size == 1 and len(size) > axis and size[axis] == int(fixed.reshape(-1)[0])
    while (node := values.made_by(trips, "Squeeze", "Reshape", "Cast", "Identity")) is not None:
        trips = node.input[0]
    gather = values.made_by(trips, "Gather", "Slice")
    shape = values.made_by(gather.input[0], "Shape") if gather is not None else None
    start = values.constant(gather.input[1]) if gather is not None else None
    if gather is None or shape is None or start is None or start.size != 1 or shape.attribute:
        return False
    if gather.op_type == "Slice":
        end = values.constant(gather.input[2])
        if end is None or end.size != 1 or int(end.reshape(-1)[0]) != int(start.reshape(-1)[0]) + 1:
            return False
    return shape.input[0] == sequence and int(start.reshape(-1)[0]) == axis


def _cell(loop: Repetition, body: onnx.ModelProto) -> Cell | None:
    """Return the step that a loop's body, a model of its own, is; with x as named outside."""
    axes = [axis for _, axis in loop.sequences]
    if len(dict(loop.sequences)) != len(axes) or not {*axes, *loop.stacked} <= {0, 1, -2, -3}:
        return None
    values = Values(body)
    names = [value.name for value in body.graph.input]
    states = names[: len(loop.states)]
    found = list(cells(values, states))
    if len(found) != 1 or len(loop.sequences) != len(found[0].x):
        return None
    (cell,) = found
    given, returned = [cell.h], [cell.next_h]
    if cell.c:
        given, returned = [cell.h, cell.c], [cell.next_h, cell.next_c]
    outputs = [before(values.producers, value.name, "Identity") for value in body.graph.output]
    order = [states.index(name) for name in given if name in states]
    if (
        len(order) != len(states)
        or len(given) != len(states)
        or [outputs[at] for at in order] != returned
        or any(name != cell.next_h for name in outputs[len(states) :])
        or any(name not in names[len(states) :] for name in cell.x)
        or len(set(cell.x)) != len(cell.x)
    ):
        return None
    return replace(cell, x=tuple(loop.sequences[names.index(n) - len(states)][0] for n in cell.x))


def _standalone(loop: Repetition, outer: Values) -> onnx.ModelProto | None:
    """Return a body as a model of its own, with what it reads from outside."""
    model = onnx.ModelProto(ir_version=outer.ir_version)
    model.opset_import.extend(outer.opsets)
    model.graph.CopyFrom(loop.body)
    graph = model.graph
    for at in reversed(range(len(graph.node))):
        given = attributes(graph.node[at])
        if is_standard(graph.node[at], "Constant") and "value" in given:
            graph.initializer.append(given["value"])
            graph.initializer[-1].name = graph.node[at].output[0]
            del graph.node[at]
    shapes: list[list[int | str]] = []
    for name in loop.states:
        shapes.append(outer.shapes.get(name, []))
    for name, axis in loop.sequences:
        shape = outer.shapes.get(name, [])
        shapes.append([size for at, size in enumerate(shape) if at != axis])
    names = [value.name for value in graph.input]
    if len(names) != len(shapes) or any(len(shape) != 2 for shape in shapes):
        return None
    kind = onnx.TensorProto.FLOAT
    del graph.input[:], graph.value_info[:]
    graph.input.extend(
        helper.make_tensor_value_info(name, kind, [size or None for size in shape])
        for name, shape in zip(names, shapes, strict=True)
    )
    known = {name for node in graph.node for name in node.output} | set(names)
    known |= {tensor.name for tensor in graph.initializer}
    for name in {name for node in graph.node for name in reads(node)} - known:
        tensor = outer.tensor(name)
        if tensor is None:
            return None  # a value that the outer graph computes
        graph.initializer.append(tensor)
    return model


def _written(
    editor: Editor, node: onnx.NodeProto, loop: Repetition, cell: Cell
) -> list[onnx.NodeProto]:
    """Return what stands in place of a loop."""
    name = editor.unique(node.name or next(filter(None, node.output)))
    zero, one = editor.constant(f"{name}.axis0", [0]), editor.constant(f"{name}.axis1", [1])
    nodes: list[onnx.NodeProto] = []

    def add(op_type: str, inputs: list[str], output: str = "", **given: Any) -> str:
        output = output or editor.unique(f"{name}.{op_type.lower()}")
        nodes.append(helper.make_node(op_type, inputs, [output], **given))
        return output

    axes = dict(loop.sequences)
    parts = [add("Transpose", [x], perm=[1, 0, 2]) if axes[x] == 1 else x for x in cell.x]
    sequence = parts[0] if len(parts) == 1 else add("Concat", parts, axis=2)
    names = [value.name for value in loop.body.input]
    order = [names.index(state) for state in (cell.h, cell.c) if state]
    states = [add("Unsqueeze", [loop.states[at], zero]) for at in order]
    layer = recurrent_node(editor, name, cell, sequence, states)
    if loop.reverse:
        layer.attribute.append(helper.make_attribute("direction", "reverse"))
    nodes.append(layer)
    for at, state in zip(order, layer.output[1:], strict=True):
        if node.output[at]:
            add("Squeeze", [state, zero], node.output[at])
    for output, axis in zip(node.output[len(order) :], loop.stacked, strict=True):
        if output and axis in (1, -2):
            add("Transpose", [add("Squeeze", [layer.output[0], one])], output, perm=[1, 0, 2])
        elif output:
            add("Squeeze", [layer.output[0], one], output)
    return nodes


def _is_true(graph: onnx.GraphProto, name: str) -> bool:
    found = [tensor for tensor in graph.initializer if tensor.name == name]
    return bool(found) and bool(numpy_helper.to_array(found[0]).all())
