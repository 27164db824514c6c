"""Infer the state contract of a graph that another program wrote."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn_exporters.causal import RULES as CAUSAL_RULES
from edgernn_exporters.causal import StepFormError, with_caches
from edgernn_exporters.onnx_import.axes import BATCH, TIME, Flow, follow
from edgernn_exporters.onnx_import.axes_rules import RULES
from edgernn_exporters.onnx_import.dynamic import open_axes
from edgernn_exporters.onnx_import.editing import RECURRENT, Editor, before, label
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.onestep import with_time
from edgernn_exporters.onnx_import.pairing import by_name, caches, check_given
from edgernn_exporters.onnx_import.states import State, keep_outputs, make_explicit, take_out
from edgernn_exporters.onnx_nodes import is_standard

# What looks at other steps in these may be a window over the past, which a cache lets stream.
# Recurrent layers have states, and a Reshape may put steps into other places.
_WINDOWS = set(CAUSAL_RULES) - {*RECURRENT, "Scan", "Reshape"}


def infer(
    model: onnx.ModelProto,
    given: Mapping[str, str] | None,
    notes: Notes,
    *,
    windows: bool = True,
    streams: bool = True,
    sized: Collection[str] = (),
) -> tuple[onnx.ModelProto, Contract | None]:
    """Find the states and the batch and time axes of a model, and make both explicit.

    States that share a tensor get one of their own each; layers that start from a constant get
    a state input and output, and so do windows over the past; batch and time axes of a fixed size
    become dynamic where running the model shows that they can be.

    Args:
        model: Of opset 13 or later, constants as initializers, recurrent nodes of layout 0; not
            changed.
        given: Outputs by state input, as the user named them, if they did.
        notes: Receives what was found and changed, and what could not be decided.
        windows: Whether windows over the past may get caches.
        streams: False if running the model has shown that calls cannot follow each other.
        sized: Axes (``INPUT.AXIS``) that have no size in the file, but the one that the user gave.

    Returns:
        The changed model and its contract; or the model as it is and None, if it has no states or
        they cannot be told.

    Raises:
        UsageError: A pair that was given does not fit the graph.
    """
    given = given or {}
    check_given(model.graph, given)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    editor = Editor(changed)
    states, refused, loose = take_out(editor, given, notes)
    editor.clean()
    states += _others(editor, states, refused - set(given), given, notes)
    states = keep_outputs(editor, states, notes)
    paired = {state.input for state in states}
    for sentence in (text for name, text in loose.items() if name not in paired):
        notes.add(sentence)
    if not states and not any(_is_recurrent(node) for node in editor.graph.node):
        notes.add("the model has no recurrent layer and no state; it runs whole sequences only.")
        return model, None
    result, contract = _with_axes(changed, states, notes, windows, streams, sized)
    if result is None:
        notes.pieces.clear()  # of what is not done now
        return model, None
    return result, contract


def _with_axes(
    model: onnx.ModelProto, states: Sequence[State], notes: Notes, windows: bool, streams: bool,
    sized: Collection[str],
) -> tuple[onnx.ModelProto | None, Contract | None]:  # fmt: skip
    """Make batch and time dynamic: in place, or as many steps of a model of one."""
    why = ""
    if windows and streams:
        cached, contract, why = _with_caches(model, states, notes, sized)
        if contract is not None:
            return cached, contract
    own = Notes()
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    contract = _complete(whole, states, own, why, streams=streams, sized=sized)
    if not streams:
        notes.extend(own)
        return (whole if contract is not None else None), contract
    if contract is not None and _takes_many_steps(whole, contract):
        notes.extend(own)
        return whole, contract
    lifted = Notes()
    flow = _followed(model, states, Notes(), final=False)
    many = None if flow is None else with_time(model, flow, states, lifted)
    if many is not None:
        found = _complete(many, states, lifted)
        if found is not None and found.stream.causal:
            notes.extend(lifted)
            notes.added_time |= lifted.added_time
            return many, found
    notes.extend([*own, *lifted] if many is None else own)
    return (whole if contract is not None else None), contract


def _takes_many_steps(model: onnx.ModelProto, contract: Contract) -> bool:
    dims = {v.name: v.type.tensor_type.shape.dim for v in model.graph.input}
    return any(
        place.time is not None and bool(dims[name][place.time].dim_param)
        for name, place in contract.stream.inputs.items()
    )


def _with_caches(
    model: onnx.ModelProto, states: Sequence[State], notes: Notes, sized: Collection[str]
) -> tuple[onnx.ModelProto, Contract | None, str]:
    """Let a model stream that does not only because of windows over the past.

    Returns:
        The new model and its contract; or None for the contract, and why if a node looks ahead.
    """
    cached, own = onnx.ModelProto(), Notes()
    flow = _followed(model, states, own, final=False)
    if flow is None or not _has_only_windows(flow):
        return model, None, ""
    cached.CopyFrom(model)
    contract = _complete(cached, states, own, caches=True, sized=sized)
    if contract is None or not contract.stream.causal or contract.stream.lengths is not None:
        return model, None, ""
    if not _takes_many_steps(cached, contract):
        return model, None, ""
    try:
        cached, found = with_caches(cached, contract)
    except StepFormError as error:
        return model, None, error.reason
    notes.extend(own)
    new = found.states[len(contract.states) :]
    if new:
        notes.add(
            f"windows over earlier time steps keep these as states now, so that the model "
            f"streams: {', '.join(f'{state.input} -> {state.output}' for state in new)}."
        )
    notes.by_caches = True
    return cached, found, ""


def _has_only_windows(flow: Flow) -> bool:
    """Tell whether windows are what makes a model look at other time steps."""
    mixers = flow.mixers(TIME)
    return bool(mixers) and mixers <= _WINDOWS and not flow.backwards and not flow.undecided


def _complete(
    model: onnx.ModelProto, states: Sequence[State], notes: Notes, why: str = "", *,
    caches: bool = False, streams: bool = True, sized: Collection[str] = (),
) -> Contract | None:  # fmt: skip
    """Make states explicit and axes dynamic, in place; return the contract if it can be told.

    Args:
        model: Changed.
        states: Those that are known.
        notes: Receives what was done.
        why: What of the model looks ahead, if that is known better than here.
        caches: True if windows over time will have caches.
        streams: See `infer`.
        sized: See `infer`.
    """

    def is_causal(flow: Flow, notes: Notes) -> bool:
        if not streams:
            return False
        return (caches and _has_only_windows(flow)) or _is_causal(flow, notes, why)

    editor, states = Editor(model), list(states)
    flow = _followed(model, states, notes, final=False)
    if flow is None:
        return None
    if is_causal(flow, Notes()):
        states += make_explicit(editor, flow, notes, sized)
        editor.clean()
        flow = _followed(model, states, notes, final=True)
        if flow is None:
            return None
    placed = [_placed(flow, state, notes) for state in states]
    known = [state for state in placed if state is not None]
    if len(known) < len(placed):
        return None
    causal = is_causal(flow, notes)
    open_axes(editor, flow, known, causal, notes)
    return _contract(model, flow, known, causal, notes)


def _others(
    editor: Editor, states: Sequence[State], refused: set[str], given: Mapping[str, str],
    notes: Notes,
) -> list[State]:  # fmt: skip
    """Return the states that belong to no recurrent node; ``refused`` inputs are none."""
    taken = {state.input: state.output for state in states} | dict.fromkeys(refused, "")
    inputs = {value.name for value in editor.graph.input}
    pairs = {name: target for name, target in given.items() if name in inputs - set(taken)}
    found = caches(editor)
    for name, target in found.items():
        if name not in {**taken, **pairs} and target not in {*taken.values(), *pairs.values()}:
            pairs[name] = target
            notes.add(f"input {name!r} is a cache of past steps that {target!r} returns.")
    pairs |= by_name(editor, {**taken, **pairs}, notes)
    return [State(name, target, is_cache=found.get(name) == target)
            for name, target in pairs.items()]  # fmt: skip


def _is_recurrent(node: onnx.NodeProto) -> bool:
    return is_standard(node, *RECURRENT, "Scan")


def _followed(
    model: onnx.ModelProto, states: Sequence[State], notes: Notes, *, final: bool
) -> Flow | None:
    """Follow the axes; None, with a note, if one would be both time and batch."""
    caches_in = {state.input for state in states if state.is_cache}
    flow = follow(model, [s.input for s in states], caches_in, RULES, final=final)
    if flow.conflicts():
        notes.add("an axis of the inputs would be both batch and time, so there is no contract.")
        return None
    return flow


def _is_causal(flow: Flow, notes: Notes, why: str) -> bool:
    if flow.backwards:
        notes.add(f"{flow.backwards[0]} looks at later time steps, so the model does not stream.")
    reasons = flow.reasons(TIME, mixed=True) + flow.undecided
    if reasons:
        notes.add(f"the model does not stream: {why or reasons[0]}.")
    return not flow.backwards and not reasons


def _placed(flow: Flow, state: State, notes: Notes) -> State | None:
    """Find the batch axis of a state."""
    axes = flow.of(state.input) or ()
    at = state.batch_axis if state.batch_axis is not None else flow.place(state.input, BATCH)
    if at is None:
        dynamic = [place for place, axis in enumerate(axes) if flow.is_dynamic(axis)]
        ones = [place for place, axis in enumerate(axes) if axis.atoms
                and flow.size(axis.atoms[0]) == 1]  # fmt: skip
        fitting = dynamic or ones
        if len(fitting) != 1:
            notes.add(
                f"which axis of state {state.input!r} is the batch is not clear, so there is no "
                f"contract; give that axis a name in the file, or export with batch 1."
            )
            return None
        at = fitting[0]
        if dynamic:
            flow.claim(state.input, at, BATCH)
        else:
            notes.add(f"axis {at} of state {state.input!r}, the only one of size 1, is its batch.")
    return replace(state, batch_axis=at)


def _contract(
    model: onnx.ModelProto, flow: Flow, states: Sequence[State], causal: bool, notes: Notes
) -> Contract | None:
    constants = {tensor.name for tensor in model.graph.initializer}
    values = {v.name: v for v in model.graph.input if v.name not in constants}
    lengths = _lengths(model, list(values), notes)
    if lengths is None:
        return None
    fed, returned = {s.input for s in states}, {s.output for s in states}
    specs = []
    for state in states:
        kind = values[state.input].type.tensor_type.elem_type
        dtype = helper.tensor_dtype_to_np_dtype(kind).name
        assert state.batch_axis is not None
        specs.append(
            StateSpec(state.input, state.output, state.batch_axis, dtype=dtype, init=state.init)
        )
    places = {name: _axes(flow, name) for name in values if name not in fed}
    timed = any(place.time is not None for place in places.values())
    stream = StreamSpec(
        causal=causal,
        inputs=places,
        outputs={v.name: _axes(flow, v.name) for v in model.graph.output
                 if v.name not in returned},
        lengths=(lengths or None) if timed else None,
    )  # fmt: skip
    return Contract(tuple(specs), stream)


def _axes(flow: Flow, name: str) -> Axes:
    return Axes(batch=flow.place(name, BATCH), time=flow.place(name, TIME))


def _lengths(model: onnx.ModelProto, inputs: Sequence[str], notes: Notes) -> str | None:
    """Return the input with the length of each row, "" if none, None if that is not clear."""
    made = {name: node for node in model.graph.node for name in node.output if name}
    found: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if is_standard(node, *RECURRENT) and len(node.input) > 4 and node.input[4]:
            found[before(made, str(node.input[4]), "Identity", "Cast")] = node
    if not found:
        return ""
    name, node = next(iter(found.items()))
    if len(found) > 1 or name not in inputs:
        notes.add(
            f"{label(node)} takes lengths that are not one input of the model, so there is no "
            f"contract."
        )
        return None
    return name
