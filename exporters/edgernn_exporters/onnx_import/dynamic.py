"""Let a model take any number of time steps and rows, where running it shows that it can."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from edgernn.errors import first_line
from edgernn_exporters.onnx_import.axes import BATCH, TIME, Axis, Flow
from edgernn_exporters.onnx_import.doubling import Array, Doubled, differ, drawn
from edgernn_exporters.onnx_import.editing import Editor
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.states import State
from edgernn_exporters.onnx_nodes import attributes, is_standard

_STEPS, _ROWS = 3, 2


def open_axes(
    editor: Editor, flow: Flow, states: Sequence[State], causal: bool, notes: Notes
) -> None:
    """Make the batch and time axes of a model dynamic and name them, as far as that holds.

    An axis of fixed size becomes dynamic if one run over several steps and rows gives what the
    model gives step by step and row by row. Otherwise it keeps its size, with a note.

    Args:
        editor: Of the model.
        flow: Its axes.
        states: Its states.
        causal: False if calls cannot follow each other.
        notes: Receives what stays fixed, and why.
    """
    wanted = []
    for role in (TIME, BATCH):
        sizes = {flow.size(flow.of(name)[at].atoms[0]) for name, at in flow.atoms(role)}  # type: ignore[index]
        if not sizes or all(flow.is_dynamic(flow.of(n)[at]) for n, at in flow.atoms(role)):  # type: ignore[index]
            continue
        reasons = flow.reasons(role, mixed=False) + flow.reasons(role, mixed=True)
        if role == TIME and not causal:
            reasons.append("the model is not causal")
        if reasons:
            notes.add(f"the {role} axis stays {max(sizes)} long: {reasons[0]}.")
        else:
            wanted.append(role)
    for roles in dict.fromkeys((tuple(wanted), *((role,) for role in wanted))):
        why = _difference(editor.model, flow, states, roles) if roles else None
        if why is None:
            if roles != tuple(wanted):
                notes.add(f"only the {roles[0]} axis is dynamic: with both, results differ.")
            return _open(editor, flow, roles)
        if len(roles) == 1:
            notes.add(f"the {roles[0]} axis keeps its size: {why}.")
    return _open(editor, flow, ())


def _open(editor: Editor, flow: Flow, roles: Sequence[str]) -> None:
    """Let the axes of these roles have no fixed size."""
    for node in list(editor.graph.node):
        axes = flow.of(node.output[0]) or ()
        if not any(_is_open(flow, axis, roles) for axis in axes) or len(node.input) < 2:
            continue
        target = flow.integers(node.input[1]) if is_standard(node, "Reshape", "Expand") else None
        if target is not None and node.op_type == "Reshape":
            _reshape(editor, flow, node, target, roles)
        elif target is not None:
            missing = len(axes) - len(target)
            sizes = [1 if _is_open(flow, axis, roles) else size
                     for axis, size in zip(axes[missing:], target, strict=True)]  # fmt: skip
            node.input[1] = editor.constant(f"{node.input[1]}.open", np.array(sizes, np.int64))
    for value in (*editor.graph.input, *editor.graph.output):
        _name_axes(value, flow, roles)
    editor.clean()


def _is_open(flow: Flow, axis: Axis, roles: Sequence[str]) -> bool:
    return any(flow.role_of(atom) in roles for atom in axis.atoms)


def _reshape(
    editor: Editor, flow: Flow, node: onnx.NodeProto, target: list[int], roles: Sequence[str]
) -> None:
    """Let a Reshape to constant sizes follow the axes that become dynamic."""
    before, after = flow.of(node.input[0]) or (), flow.of(node.output[0]) or ()
    sizes = list(target)
    moving = []
    for at, axis in enumerate(after):
        if _is_open(flow, axis, roles):
            copied = (
                at < len(before) and before[at] == axis and not attributes(node).get("allowzero")
            )
            sizes[at] = 0 if copied else -2
            moving += [] if copied else [at]
    if moving and -1 not in sizes:
        sizes[moving.pop()] = -1
    parts: list[str] = []
    for at, size in enumerate(sizes):
        source = next(_sources(flow, after[at]), None) if at in moving else None
        if at in moving and source is None:
            return  # it fails when it is run, and the axis keeps its size
        if source is None:
            parts.append(editor.constant(f"{node.input[1]}.open", np.array([size], np.int64)))
            continue
        name, place = source
        whole, size_of = editor.unique(f"{name}.shape"), editor.unique(f"{name}.size{place}")
        index = editor.constant(f"{name}.axis", np.array([place], np.int64))
        editor.graph.node.append(helper.make_node("Shape", [name], [whole]))
        editor.graph.node.append(helper.make_node("Gather", [whole, index], [size_of]))
        parts.append(size_of)
    if moving:
        shape = editor.unique(f"{node.input[1]}.open")
        editor.graph.node.append(helper.make_node("Concat", parts, [shape], axis=0))
    else:
        shape = editor.constant(f"{node.input[1]}.open", np.array(sizes, np.int64))
    node.input[1] = shape


def _sources(flow: Flow, axis: Axis) -> Iterator[tuple[str, int]]:
    """Yield inputs, and their axes, that have the size of an axis."""
    if len(axis.atoms) == 1 and axis.offset == 0:
        root = flow.root(axis.atoms[0])
        for role in (TIME, BATCH):
            for name, at in flow.atoms(role):
                if flow.root((flow.of(name) or ())[at].atoms[0]) == root:
                    yield name, at


def _name_axes(value: onnx.ValueInfoProto, flow: Flow, roles: Sequence[str]) -> None:
    axes, shape = flow.of(value.name), flow.shapes.get(value.name)
    if axes is None or shape is None:
        return
    given = list(value.type.tensor_type.shape.dim)
    names: list[int | str] = []
    for at, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        role = flow.role(axis)
        if role is not None and not axis.offset and (role in roles or flow.is_dynamic(axis)):
            names.append(role)
        elif flow.is_named(size):
            names.append(given[at].dim_param if at < len(given) else "")
        else:
            names.append(size)
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.SetInParent()
    for name in names:
        dim = value.type.tensor_type.shape.dim.add()
        if isinstance(name, int):
            dim.dim_value = name
        elif name:
            dim.dim_param = name


def _difference(
    model: onnx.ModelProto, flow: Flow, states: Sequence[State], roles: Sequence[str]
) -> str | None:
    """Run the model as it is and opened; return how they differ, or None if they do not."""
    after = onnx.ModelProto()
    after.CopyFrom(model)
    _open(Editor(after), flow, roles)
    feeds = dict(_inputs(model, flow, roles))
    try:
        opened = Doubled(after).run(feeds)
        pieces = _piecewise(Doubled(model), flow, states, roles, feeds)
    except Exception as error:  # the evaluator raises what numpy does
        return f"it cannot be run so ({first_line(error)[:200]})"
    for name, whole in opened.items():
        if whole.shape != pieces[name].shape:
            return f"output {name!r} has another shape than step by step and row by row"
        if differ(whole, pieces[name]):
            return f"output {name!r} has other values than step by step and row by row"
    return None


def _inputs(
    model: onnx.ModelProto, flow: Flow, roles: Sequence[str]
) -> Iterator[tuple[str, Array]]:
    rng = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        shape = []
        for axis, size in zip(flow.of(value.name) or (), flow.shapes[value.name], strict=True):
            role = flow.role(axis)
            count = _STEPS if role == TIME else _ROWS
            one = 1 if flow.is_dynamic(axis) else size
            shape.append(count * one if role in roles or flow.is_dynamic(axis) else size)
        yield value.name, drawn(rng, value.type.tensor_type.elem_type, shape)


def _piecewise(
    model: Doubled, flow: Flow, states: Sequence[State], roles: Sequence[str],
    feeds: Mapping[str, Array],
) -> dict[str, Array]:  # fmt: skip
    """Run a model on a few steps and rows at a time, with its states handed on."""
    rows = []
    for row in _cuts(flow, feeds, BATCH) if BATCH in roles else [dict(feeds)]:
        current, steps = dict(row), []
        for step in _cuts(flow, row, TIME) if TIME in roles else [dict(row)]:
            current.update({n: v for n, v in step.items() if n not in flow.states})
            found = model.run(current)
            current.update({state.input: found[state.output] for state in states})
            steps.append(found)
        rows.append(_joined(flow, steps, TIME, {state.output for state in states}))
    return _joined(flow, rows, BATCH, set())


def _cuts(flow: Flow, feeds: Mapping[str, Array], role: str) -> Iterable[dict[str, Array]]:
    """Cut inputs along a role, in pieces of the size that the model has."""
    places = {name: flow.place(name, role) for name in feeds}
    count = _STEPS if role == TIME else _ROWS
    for at in range(count):
        yield {
            name: value if (axis := places[name]) is None else np.split(value, count, axis)[at]
            for name, value in feeds.items()
        }


def _joined(
    flow: Flow, pieces: list[dict[str, Array]], role: str, last: set[str]
) -> dict[str, Array]:
    result = {}
    for name in pieces[0]:
        axis = flow.place(name, role)
        values = [piece[name] for piece in pieces]
        whole = len(values) > 1 and axis is not None and name not in last
        result[name] = np.concatenate(values, axis) if whole else values[-1]
    return result
