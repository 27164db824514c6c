"""Write recurrent nodes into a graph in place of chains of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import helper

from edgernn_exporters.onnx_import.editing import Editor
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise_affine import Values
from edgernn_exporters.onnx_import.recognise_cells import Cell
from edgernn_exporters.onnx_nodes import attributes, is_standard


class Writer:
    """Replace chains of steps.

    Args:
        editor: Of the graph, which keeps the old operators where something else reads them.
        values: Of the graph before.
        notes: Receives a sentence for each node.
    """

    def __init__(self, editor: Editor, values: Values, notes: Notes) -> None:
        self._editor = editor
        self._values = values
        self._notes = notes
        self._nodes: list[onnx.NodeProto] = []
        self._outputs: dict[tuple[str, ...], str] = {}

    def write(self, found: list[list[Cell]]) -> None:
        """Put in one node for each chain."""
        names = [self._editor.unique(_layer(chain[-1])) for chain in found]
        for name, chain in zip(names, found, strict=True):
            steps = tuple(cell.next_h for cell in chain)
            self._outputs[steps] = self._editor.unique(f"{name}.y")
        for name, chain in zip(names, found, strict=True):
            self._write_chain(name, chain)
        stacks = list(self._stacks())
        made = {output for node in (*self._nodes, *stacks) for output in node.output}
        kept = [node for node in self._editor.graph.node if made.isdisjoint(node.output)]
        del self._editor.graph.node[:]
        self._editor.graph.node.extend([*kept, *self._nodes, *stacks])

    def _write_chain(self, name: str, chain: list[Cell]) -> None:
        first, last = chain[0], chain[-1]
        steps = tuple(cell.next_h for cell in chain)
        zero = self._editor.constant(f"{name}.axis0", [0])
        one = self._editor.constant(f"{name}.axis1", [1])
        states = [
            self._add("Unsqueeze", [state, zero], f"{name}.initial")
            for state in (first.h, first.c)
            if state
        ]
        node = recurrent_node(self._editor, name, first, self._sequence(name, chain), states)
        self._nodes.append(node)
        stacked = self._outputs[steps]
        self._nodes.append(helper.make_node("Squeeze", [node.output[0], one], [stacked]))
        for step, state in enumerate(steps[:-1]):
            index = self._editor.constant(f"{name}.step", step)
            self._nodes.append(helper.make_node("Gather", [stacked, index], [state], axis=0))
        self._nodes.append(helper.make_node("Squeeze", [node.output[1], zero], [last.next_h]))
        if last.next_c:
            self._nodes.append(helper.make_node("Squeeze", [node.output[2], zero], [last.next_c]))
        count = "1 step" if len(chain) == 1 else f"{len(chain)} steps"
        self._notes.add(f"{name}: the operators of {count} of a layer are one {node.op_type} now.")

    def _sequence(self, name: str, chain: list[Cell]) -> str:
        """Return the name of the inputs [time, batch, in]."""
        if len(chain[0].x) > 1:
            inputs = [self._add("Concat", cell.x, f"{name}.x", axis=1) for cell in chain]
        else:
            inputs = [cell.x[0] for cell in chain]
        if (stacked := self._outputs.get(tuple(inputs))) is not None:
            return stacked
        if (whole := self._unstacked(name, inputs)) is not None:
            return whole
        zero = self._editor.constant(f"{name}.axis0", [0])
        parts = [self._add("Unsqueeze", [entry, zero], f"{name}.x") for entry in inputs]
        return self._add("Concat", parts, f"{name}.x", axis=0)

    def _unstacked(self, name: str, inputs: list[str]) -> str | None:
        """Return the sequence that these steps are all of, in order."""
        places = [self._place(entry) for entry in inputs]
        source, axis = (places[0][0], places[0][1]) if places[0] is not None else ("", -1)
        shape = self._values.shapes.get(source, [])
        if (
            axis not in (0, 1)
            or len(shape) != 3
            or shape[axis] != len(inputs)
            or places != [(source, axis, step) for step in range(len(inputs))]
        ):
            return None
        if axis == 0:
            return source
        return self._add("Transpose", [source], f"{name}.x", perm=[1, 0, 2])

    def _place(self, name: str) -> tuple[str, int, int] | None:
        """Return source, axis and index of a value that is one step of a sequence."""
        gather = self._values.made_by(name, "Gather")
        if gather is not None:
            index = self._values.constant(gather.input[1])
            if index is None or index.ndim != 0:
                return None
            return gather.input[0], attributes(gather).get("axis", 0), int(index)
        squeeze = self._values.made_by(name, "Squeeze")
        axes = self._axes(squeeze) if squeeze is not None else None
        if squeeze is None or axes is None or len(axes) != 1:
            return None
        axis, part = axes[0], squeeze.input[0]
        split = self._values.made_by(part, "Split")
        if split is not None:
            whole = attributes(split).get("axis", 0) == axis
            return (split.input[0], axis, list(split.output).index(part)) if whole else None
        cut = self._values.made_by(part, "Slice")
        if cut is None:
            return part, axis, 0
        given = [self._values.constant(entry) for entry in cut.input[1:]]
        if len(given) < 3 or any(e is None or e.size != 1 for e in given):
            return None
        start, end, along = (int(e.reshape(-1)[0]) for e in given[:3] if e is not None)
        return (cut.input[0], axis, start) if along == axis and end == start + 1 else None

    def _stacks(self) -> Iterator[onnx.NodeProto]:
        """Yield what makes the stacks of all steps of a chain from the node's output."""
        for node in self._editor.graph.node:
            if is_standard(node, "Unsqueeze"):  # of a single step
                pieces: list[onnx.NodeProto | None] = [node]
            elif is_standard(node, "Concat"):
                pieces = [self._values.made_by(name, "Unsqueeze") for name in node.input]
            else:
                continue
            axes = [self._axes(piece) if piece else None for piece in pieces]
            stacked = self._outputs.get(tuple(piece.input[0] for piece in pieces if piece))
            along = attributes(node)["axis"] if node.op_type == "Concat" else (axes[0] or [-1])[0]
            if stacked is None or axes != [[along]] * len(axes):
                continue
            if along == 0:
                yield helper.make_node("Identity", [stacked], node.output)
            elif along == 1:
                yield helper.make_node("Transpose", [stacked], node.output, perm=[1, 0, 2])

    def _axes(self, node: onnx.NodeProto) -> list[int] | None:
        axes = self._values.constant(node.input[1]) if len(node.input) > 1 else None
        return None if axes is None else [int(axis) for axis in axes.reshape(-1)]

    def _add(
        self, op_type: str, inputs: list[str] | tuple[str, ...], name: str, **given: Any
    ) -> str:
        output = self._editor.unique(name)
        self._nodes.append(helper.make_node(op_type, inputs, [output], **given))
        return output


def recurrent_node(
    editor: Editor, name: str, cell: Cell, sequence: str, states: list[str]
) -> onnx.NodeProto:
    """Make a recurrent node with the weights of a cell.

    Args:
        editor: Receives the weights.
        name: Of the node.
        cell: One step.
        sequence: Inputs [time, batch, in].
        states: First states [1, batch, hidden]; empty for zeros.
    """
    weights = [
        editor.constant(f"{name}.{key}", array[None])
        for key, array in (("W", cell.w), ("R", cell.r), ("B", cell.b))
    ]
    keys = ("Y", "Y_h", "Y_c") if cell.op_type == "LSTM" else ("Y", "Y_h")
    outputs = [editor.unique(f"{name}.{key}") for key in keys]
    given: dict[str, Any] = (
        {} if cell.op_type == "LSTM" else {"linear_before_reset": cell.linear_before_reset}
    )
    if cell.hard is not None:
        gates = ["HardSigmoid"] if cell.op_type == "GRU" else ["HardSigmoid", "Tanh"]
        slope, offset = cell.hard
        given |= {
            "activations": [*gates, "Tanh"],
            # of those that take parameters, in order
            "activation_alpha": [slope],
            "activation_beta": [offset],
        }
    return helper.make_node(
        cell.op_type, [sequence, *weights, *(["", *states] if states else [])], outputs, name=name,
        hidden_size=cell.hidden, **given,
    )  # fmt: skip


def _layer(cell: Cell) -> str:
    """Return a layer's name from the path of its output, as in ``model/lstm_6/mul_2:0``."""
    path = [part for part in cell.next_h.split("/") if part]
    return path[-2] if len(path) > 1 else cell.op_type.lower()
