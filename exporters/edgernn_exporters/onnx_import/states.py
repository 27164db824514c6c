"""Give each recurrent node its own state inputs and outputs, apart from those of others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from onnx import helper

from edgernn.contract import ZEROS
from edgernn_exporters.onnx_import.axes import TIME, Flow
from edgernn_exporters.onnx_import.editing import RECURRENT, Editor, ancestors, label
from edgernn_exporters.onnx_import.notes import Notes, Piece
from edgernn_exporters.onnx_import.pairing import alike
from edgernn_exporters.onnx_import.slots import Slot, find_slots
from edgernn_exporters.onnx_import.tracing import Tracer
from edgernn_exporters.onnx_nodes import attributes, is_standard

Shape = list[int | str]


@dataclass(frozen=True)
class State:
    """Pair a state input with its next value.

    Attributes:
        input: Graph input.
        output: Graph output.
        init: ``"zeros"`` or the name of an initializer.
        batch_axis: Where it is known from a node; else None.
        is_cache: True if it holds past steps of a sequence.
    """

    input: str
    output: str
    init: str = ZEROS
    batch_axis: int | None = None
    is_cache: bool = False


def take_out(
    editor: Editor, given: Mapping[str, str], notes: Notes
) -> tuple[list[State], set[str], dict[str, str]]:
    """Replace the inputs and outputs that hold states by one of each state of each node.

    Which element of which input starts a state, and which output returns it, is found by
    evaluation. Where the two do not fit together the graph stays as it is.

    Args:
        editor: Of the graph.
        given: Outputs by input, as the user named them.
        notes: Receives what was split, what was left, and the pieces.

    Returns:
        The states, in the order of the nodes; the inputs that start a node but are no states; and
        those that start a node of one step, whose next value no output holds as it is, with a
        sentence for the user if they are not found to be states by other means.
    """
    tracer = Tracer(editor.model)
    slots = find_slots(editor.graph, tracer)
    by_source: dict[str, list[Slot]] = {}
    for slot in slots:
        if slot.source:
            by_source.setdefault(slot.source, []).append(slot)
    loose = {
        source: _unreturned(source, group)
        for source, group in by_source.items()
        if all(_is_loose(slot, tracer) for slot in group)
    }
    chosen = {
        source: _targets(editor, source, group, given, notes)
        for source, group in by_source.items()
        if source not in loose
    }
    returned = {target for targets in chosen.values() for target in targets}
    keep = returned == {value.name for value in editor.graph.output}
    sizes = {name: ids.size for name in by_source if (ids := tracer.ids(name)) is not None}
    states: list[State] = []
    for source, targets in chosen.items():
        if targets and not _is_separable(editor, source, by_source[source], sizes[source]):
            states += _whole(sizes[source], source, by_source[source], targets, notes)
        elif targets:
            states += _split(editor, source, by_source[source], targets, keep, notes)
    return states, {source for source, targets in chosen.items() if not targets}, loose


def make_explicit(
    editor: Editor, flow: Flow, notes: Notes, sized: Collection[str] = ()
) -> list[State]:
    """Give forward layers that start from a constant a state input and output.

    Only layers whose time is an axis of an input, as calls of others do not follow each other. If
    that axis has a single step, the layer forgets it behind each call and never had a memory, so
    it gets no state.

    Args:
        editor: Of the graph.
        flow: Its axes.
        notes: Receives a sentence for each state.
        sized: Axes (``INPUT.AXIS``) that the user gave their size: there were more steps before.

    Returns:
        The new states.
    """
    tracer = Tracer(editor.model)
    states = []
    for slot in find_slots(editor.graph, tracer):
        value = tracer.value(slot.given) if slot.given else None
        if slot.source or not slot.is_forward or (slot.given and value is None):
            continue
        shape = _shape_of(slot, flow, tracer, sized)
        if shape is None:
            continue
        init = ZEROS
        if value is not None and np.any(value):
            if not np.array_equal(np.broadcast_to(value[:, :1], value.shape), value):
                notes.add(
                    f"{label(slot.node)} starts each row from other values, so it has no state."
                )
                continue
            init = editor.constant(f"{slot.node.name}.{slot.label}.init", value[:, :1])
        name = editor.unique(f"{_name(slot.node)}.{slot.label}")
        output = editor.unique(f"{name}.next")
        given = helper.make_tensor_value_info(name, _type_of(editor, slot.node), shape)
        editor.graph.input.append(given)
        _wire(editor, slot, given, output)
        states.append(State(name, output, init, 1))
        start = "zeros" if init == ZEROS else "a constant"
        notes.add(
            f"{label(slot.node)} started from {start} in each call; its state is the input "
            f"{name!r} and the output {output!r} now, so that the model streams."
        )
    return states


def keep_outputs(editor: Editor, states: Sequence[State], notes: Notes) -> list[State]:
    """Let a model whose outputs are all next values of states return those beside the states.

    A program that runs the model reads outputs, and states are none. Pieces have outputs of their
    own already, so this is about states that the user named.

    Args:
        editor: Of the graph.
        states: All that are known.
        notes: Receives a sentence, and the pieces.

    Returns:
        The states.
    """
    if not states or {s.output for s in states} != {v.name for v in editor.graph.output}:
        return list(states)
    pieces = {piece.input for piece in notes.pieces}
    kept: list[State] = []
    for state in states:
        if state.input in pieces:
            kept.append(state)
            continue
        output = editor.unique(f"{state.input}.next")
        editor.graph.node.append(helper.make_node("Identity", [state.output], [output]))
        editor.graph.output.add().CopyFrom(_value(editor.graph.output, state.output))
        editor.graph.output[-1].name = output
        sizes = [size if isinstance(size, int) else 2
                 for size in _dims(_value(editor.graph.input, state.input))]  # fmt: skip
        index = np.arange(int(np.prod(sizes)), dtype=np.int64).reshape(sizes)
        notes.pieces.append(Piece(state.input, output, state.input, state.output, index, index))
        notes.add(
            f"output {state.output!r} is the next value of state {state.input!r} and the result "
            f"of the model; it stays, and {output!r} returns the state."
        )
        kept.append(replace(state, output=output))
    return kept


def _targets(
    editor: Editor, source: str, group: list[Slot], given: Mapping[str, str], notes: Notes
) -> list[str]:
    """Choose the output that returns each slot of a source; none if none does or it is open."""
    shapes = {v.name: _dims(v) for v in (*editor.graph.input, *editor.graph.output)}
    packed = [
        target
        for target in group[0].targets
        if len(shapes[target]) == len(shapes[source])
        and all(slot.returns_in_place(target) for slot in group)
    ]
    if source in given:
        return [given[source]] * len(group) if given[source] in packed else []
    for better in (partial(alike, source), group[0].direct.__contains__):
        if len(packed) > 1:
            packed = [target for target in packed if better(target)] or packed
    if len(packed) == 1:
        return packed * len(group)
    nodes = _nodes(group)
    if packed:
        notes.add(
            f"input {source!r} is the state of {nodes}, and outputs {packed} all return it; name "
            f"one with --state {source}=OUTPUT."
        )
        return []
    found = [slot.direct or list(slot.targets) for slot in group]
    if all(len(targets) == 1 for targets in found):
        chosen = [targets[0] for targets in found]
        moved = [target for target in chosen if shapes[target] == shapes[source]]
        if not moved:
            return chosen  # other tensors than that they came from, such as h and c apart
        notes.add(
            f"output {moved[0]!r} looks like the next value of input {source!r}, but holds the "
            f"states of {nodes} in other places, so it is no state."
        )
        return []
    notes.add(_unreturned(source, group))
    return []


def _is_loose(slot: Slot, tracer: Tracer) -> bool:
    """Tell whether a node takes a single step, and no output holds its state as it is.

    Whatever changes the state behind the node may belong to the step. Over several steps in a call
    the node itself hands the unchanged state on, so that such an output cannot be its next value.
    """
    if not is_standard(slot.node, *RECURRENT) or slot.targets:
        return False
    return bool(tracer.shapes.get(slot.node.input[0], (0,))[0] == 1)


def _unreturned(source: str, group: list[Slot]) -> str:
    returned = {target for slot in group for target in slot.targets}
    why = f"more than one output holds parts of it ({', '.join(sorted(returned))})"
    return (
        f"input {source!r} starts {_nodes(group)}, but "
        f"{why if returned else 'no output returns the state that follows'}; it stays an input. "
        f"If an output is its next value, name it with --state {source}=OUTPUT."
    )


def _nodes(group: list[Slot]) -> str:
    return ", ".join(dict.fromkeys(label(slot.node) for slot in group))


def _is_separable(editor: Editor, source: str, group: list[Slot], size: int) -> bool:
    """Tell whether nothing but these slots reads a graph input, and what the axes are, is known.

    The axes of a Scan's state are its own affair, so it must be the whole input as it is.
    """
    rank = len(_dims(_value(editor.graph.input, source)))
    for slot in group:
        if slot.label.startswith("state") and slot.index is not None:
            whole = slot.index.ndim == rank and slot.index.size == size
            if not whole or np.any(np.diff(slot.index.reshape(-1)) != 1):
                return False
    nodes = []
    for node in editor.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for slot in group:
            if slot.node.output == node.output:
                copy.input[slot.place] = ""
        nodes.append(copy)
    outputs = [value.name for value in editor.graph.output]
    return source not in ancestors(nodes, outputs)


def _whole(
    size: int, source: str, group: list[Slot], chosen: list[str], notes: Notes
) -> list[State]:
    """Keep an input and output as they are, as one state."""
    if len(set(chosen)) > 1:
        notes.add(
            f"input {source!r} is read elsewhere too, and its next value is spread over the "
            f"outputs {sorted(set(chosen))}, so it is no state."
        )
        return []
    if sum(slot.targets[target].size for slot, target in zip(group, chosen, strict=True)) != size:
        notes.add(
            f"input {source!r} holds more than the state of {label(group[0].node)}, so it is no "
            f"state; name the pair with --state {source}={chosen[0]} if it is."
        )
        return []
    return [State(source, chosen[0])]


def _split(
    editor: Editor, source: str, group: list[Slot], chosen: list[str], keep: bool, notes: Notes
) -> list[State]:
    """Replace an input, and the outputs that return it, by one of each slot.

    With ``keep`` the outputs stay beside the new ones: the model would have no other.
    """
    dims = _dims(_value(editor.graph.input, source))
    kind = _value(editor.graph.input, source).type.tensor_type.elem_type
    batch = next((size for size in dims if isinstance(size, str)), None)
    at_input = [value.name for value in editor.graph.input].index(source)
    states, values = [], []
    outputs = dict.fromkeys(chosen)
    for target in () if keep else outputs:
        editor.drop_output(target)
    editor.drop_input(source)
    for slot, target in zip(group, chosen, strict=True):
        assert slot.index is not None
        shape: Shape = list(slot.index.shape)
        if slot.label.startswith("state"):
            shape = dims
        elif batch is not None:
            shape[1] = "batch"
        alone = len(group) == 1 and len(outputs) == 1
        name = source if alone else editor.unique(f"{_name(slot.node)}.{slot.label}")
        output = target if alone and not keep else editor.unique(f"{name}.next")
        values.append(helper.make_tensor_value_info(name, kind, shape))
        _wire(editor, slot, values[-1], output)
        axis = None if slot.label.startswith("state") else 1
        states.append(State(name, output, batch_axis=axis))
        notes.pieces.append(Piece(name, output, source, target, slot.index, slot.targets[target]))
    kept = list(editor.graph.input)
    del editor.graph.input[:]
    editor.graph.input.extend([*kept[:at_input], *values, *kept[at_input:]])
    if len(group) > 1:
        notes.add(
            f"input {source!r} and output {', '.join(map(repr, outputs))} hold "
            f"{_counted(group)}; each is one of its own now: "
            f"{', '.join(f'{s.input} -> {s.output}' for s in states)}."
        )
    return states


def _counted(group: list[Slot]) -> str:
    count = len({slot.node.output[0] for slot in group})
    return f"{len(group)} states of {label(group[0].node) if count == 1 else f'{count} layers'}"


def _wire(editor: Editor, slot: Slot, given: onnx.ValueInfoProto, output: str) -> None:
    """Let a node take a state from a graph input, and return it in a graph output."""
    node = slot.node
    node.input.extend([""] * (slot.place + 1 - len(node.input)))
    node.output.extend([""] * (slot.returned + 1 - len(node.output)))
    node.input[slot.place] = given.name
    old = node.output[slot.returned]
    if old != output:
        editor.rename(output, editor.unique(f"{output}.view"))  # a view of the state, so far
        node.output[slot.returned] = output
        if old:
            editor.graph.node.append(helper.make_node("Identity", [output], [old]))
    returned = editor.graph.output.add()
    returned.CopyFrom(given)
    returned.name = output


def _type_of(editor: Editor, node: onnx.NodeProto) -> int:
    """Return the type of a recurrent node's weights, which its states have, too."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in editor.graph.input}
    kinds |= {tensor.name: tensor.data_type for tensor in editor.graph.initializer}
    return int(kinds.get(node.input[2], onnx.TensorProto.FLOAT))


def _shape_of(slot: Slot, flow: Flow, tracer: Tracer, sized: Collection[str]) -> Shape | None:
    """Return [1, batch, hidden] of a layer without a state input, or None if it cannot have one."""
    if not is_standard(slot.node, *RECURRENT):
        return None
    weights, x = tracer.shapes.get(slot.node.input[2], ()), flow.of(slot.node.input[0]) or ()
    if len(weights) != 3 or len(x) != 3 or flow.role(x[0]) != TIME:
        return None
    sizes = flow.shapes.get(slot.node.input[0])
    if sizes is None:
        return None
    if sizes[0] == 1 and flow.root(x[0].atoms[0]) not in {flow.root(atom) for atom in sized}:
        return None
    hidden = attributes(slot.node).get("hidden_size", weights[2])
    return [1, "batch" if flow.is_dynamic(x[1]) else sizes[1], hidden]


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.op_type.lower()


def _value(values: Iterable[onnx.ValueInfoProto], name: str) -> onnx.ValueInfoProto:
    return next(value for value in values if value.name == name)


def _dims(value: onnx.ValueInfoProto) -> Shape:
    """Return sizes and names of axes; an axis without either is called "?"."""
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    ]
