"""Give a model of one time step a time axis, so that a call may hold many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from edgernn.errors import first_line
from edgernn_exporters.onnx_import.axes import TIME, Flow
from edgernn_exporters.onnx_import.doubling import Array, Doubled, differ, drawn
from edgernn_exporters.onnx_import.editing import RECURRENT, Editor
from edgernn_exporters.onnx_import.folding import prune
from edgernn_exporters.onnx_import.lifting import LEAD, Lifted, Lifter, LiftError
from edgernn_exporters.onnx_import.lifting_rules import RULES
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.states import State
from edgernn_exporters.onnx_nodes import is_standard

_STEPS = 3
_BEHIND_BATCH = 1
"""Where inputs and outputs without a time axis get one."""


def with_time(
    model: onnx.ModelProto, flow: Flow, states: Sequence[State], notes: Notes
) -> onnx.ModelProto | None:
    """Return a model over many steps that gives what one of a single step gives step by step.

    An axis of size 1 becomes the time axis of an input or output; where there is none, it gets one
    behind the batch. Inputs without a batch are the same in all steps of a call.

    Args:
        model: Not changed; recurrent nodes over one step, with their states as inputs and outputs.
        flow: Its axes.
        states: Its states.
        notes: Receives which inputs and outputs got an axis, or why the model stays as it is.

    Returns:
        The new model; None if this is no such model, or it cannot be done.
    """
    layers = [node for node in model.graph.node if is_standard(node, *RECURRENT)]
    if any(is_standard(node, "Scan", "Loop", "If") for node in model.graph.node):
        return None
    if all(flow.shapes.get(node.input[0], (0,))[0] != 1 for node in layers):
        return None
    if any(flow.is_dynamic(axis) and flow.role(axis) == TIME for v in model.graph.input
           for axis in flow.of(v.name) or ()):  # fmt: skip
        return None
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    try:
        moved = _lift(Editor(changed), flow, {s.input: s.output for s in states})
    except LiftError as error:
        notes.add(f"the model takes one step in a call: {error}.")
        return None
    why = _difference(model, changed, states, moved)
    if why is not None:
        notes.add(f"the model takes one step in a call: over several, {why}.")
        return None
    prune(changed)
    new = [f"{name!r}" for name, (_, is_new) in moved.items() if is_new]
    if new:
        notes.added_time.update({n: axis for n, (axis, is_new) in moved.items() if is_new})
        notes.add(
            f"the model took one step in a call; {' and '.join(new)} "
            f"{'has' if len(new) == 1 else 'have'} a time axis behind the batch now."
        )
    return changed


def _lift(editor: Editor, flow: Flow, states: Mapping[str, str]) -> dict[str, tuple[int, bool]]:
    """Change a graph; return the time axis of inputs and outputs, and whether it is a new one."""
    graph = editor.graph
    lifter = Lifter(editor, flow.shapes, states, RULES)
    moved: dict[str, tuple[int, bool]] = {}
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        shape = flow.shapes.get(value.name, ())
        if value.name in states or value.name in constants or len(shape) < 2:
            continue
        own = _own_place(flow, value.name)
        moved[value.name] = (_BEHIND_BATCH if own is None else own, own is None)
        if own is None:
            turned = lifter.swung(value.name, len(shape) + 1, _BEHIND_BATCH, 0)
            lifter.put(value.name, Lifted(turned, LEAD))
        else:
            lifter.put(value.name, Lifted(value.name, own))
    if not moved:
        raise LiftError("it has no input with a batch axis")
    lifter.add_all(list(graph.node))
    for value in graph.output:
        if value.name in states.values():
            continue
        found = lifter.get(value.name)
        if found is None:
            continue
        moved[value.name] = _return(editor, lifter, value.name, found, flow)
    del graph.node[:]
    graph.node.extend(lifter.nodes)
    for value in (*graph.input, *graph.output):
        if value.name in moved:
            _name_time(value, *moved[value.name])
    return moved


def _own_place(flow: Flow, name: str) -> int | None:
    """Return the axis of size 1 of an input or output that is time, or None.

    It is the one that a recurrent node takes for time; else the last one between batch and
    features; else the last.
    """
    shape = flow.shapes[name]
    known = flow.place(name, TIME)
    if known is not None and shape[known] == 1:
        return known
    ones = [at for at, size in enumerate(shape) if size == 1 and at]
    if len(shape) < 3 or not ones:
        return None
    between = [at for at in ones if at < len(shape) - 1]
    return (between or ones)[-1]


def _return(
    editor: Editor, lifter: Lifter, name: str, found: Lifted, flow: Flow
) -> tuple[int, bool]:
    """Make a graph output of all steps."""
    rank = len(flow.shapes[name])
    place, is_new = found.place, False
    if not place:  # an axis in front is the batch, unless a recurrent node takes it for time
        place = _own_place(flow, name)
        is_new = place is None
    if is_new or place is None:
        place = min(_BEHIND_BATCH, rank)
        held = lifter.swung(lifter.lead(name), rank + 1, 0, place)
    else:
        held = lifter.at(name, place)
    if held != name:
        lifter.rename(name, editor.unique(f"{name}.steps"))  # in another order of axes
        lifter.nodes.append(helper.make_node("Identity", [held], [name]))
    return place, is_new


def _name_time(value: onnx.ValueInfoProto, axis: int, is_new: bool) -> None:
    dims = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString())
            for d in value.type.tensor_type.shape.dim]  # fmt: skip
    time = onnx.TensorShapeProto.Dimension(dim_param=TIME)
    dims[axis : axis + (not is_new)] = [time]
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(dims)


def _difference(
    before: onnx.ModelProto, after: onnx.ModelProto, states: Sequence[State],
    moved: Mapping[str, tuple[int, bool]],
) -> str | None:  # fmt: skip
    """Run a model step by step, and the other one over all; return how they differ, or None."""
    feeds = {}
    rng = np.random.default_rng(0)
    constants = {tensor.name for tensor in after.graph.initializer}
    for value in after.graph.input:
        if value.name not in constants:
            shape = [
                _STEPS if value.name in moved and at == moved[value.name][0]
                else dim.dim_value or 2 for at, dim in enumerate(value.type.tensor_type.shape.dim)
            ]  # fmt: skip
            feeds[value.name] = drawn(rng, value.type.tensor_type.elem_type, shape)
    try:
        whole, one = Doubled(after).run(feeds), Doubled(before)
        steps: list[dict[str, Array]] = []
        current: dict[str, Array] = dict(feeds)
        for step in range(_STEPS):
            current |= {name: _step(feeds[name], step, *moved[name])
                        for name in feeds if name in moved}  # fmt: skip
            steps.append(one.run(current))
            current |= {state.input: steps[-1][state.output] for state in states}
    except Exception as error:  # the evaluator raises what numpy does
        return f"it cannot be run ({first_line(error)[:200]})"
    for name, got in whole.items():
        for step in range(_STEPS):
            last = name not in moved
            want = steps[-1 if last else step][name]
            have = got if last else _step(got, step, *moved[name])
            if have.shape != want.shape or differ(have, want):
                return f"output {name!r} is another"
    return None


def _step(value: Array, step: int, axis: int, is_new: bool) -> Array:
    return np.take(value, step if is_new else [step], axis)
