"""ONNX's LSTM, GRU and RNN with every attribute, and our 8-bit functions, as C.

Source: ONNX operators LSTM-14 and -22, GRU-14 and -22, RNN-14 and -22.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx

from edgernn_exporters.codegen.dims import Shape, multiply, render
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.ops.cells import (
    Options,
    gru_cell,
    lstm_cell,
    parse_activations,
    rnn_cell,
)
from edgernn_exporters.codegen.ops.recurrent_loop import (
    Direction,
    Geometry,
    Layer,
    emit_layer,
)
from edgernn_exporters.codegen.ops.recurrent_weights import bias, matrix, parameter, row
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Tensor
from edgernn_exporters.quantization.functions.loops import lengths_of

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_REVERSE = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit an ``LSTM``, ``GRU`` or ``RNN`` node."""
    kind, attributes = node.op_type, attributes_of(node)
    names = [*node.input, *[""] * 8]
    reverse = _REVERSE.get(attributes.get("direction", "forward"))
    if reverse is None:
        raise NotLoweredError(f"its direction {attributes['direction']!r} is unknown")
    count = len(reverse)
    w, r = (parameter(lowering, names[place]) for place in (1, 2))
    b = parameter(lowering, names[3]) if names[3] else None
    hidden: int = attributes.get("hidden_size") or r.shape[-1]
    gates = GATES[kind]
    x = lowering.tensor(names[0])
    wanted = [(count, gates * hidden, x.shape[-1]), (count, gates * hidden, hidden),
              (count, 2 * gates * hidden)]  # fmt: skip
    found = [item.shape for item in (w, r, b) if item is not None]
    if found != wanted[: len(found)]:
        raise NotLoweredError(
            f"its weights have shapes {', '.join(map(render, found))}, but hidden_size {hidden}, "
            f"its direction and its input need {', '.join(map(render, wanted))}"
        )
    geometry = _geometry(x, hidden, gates, count, bool(attributes.get("layout", 0)))
    peepholes = None
    if kind == "LSTM" and names[7]:
        peepholes = parameter(lowering, names[7])
        if peepholes.shape != (count, 3 * hidden):
            raise NotLoweredError(f"its peephole P is not {[count, 3 * hidden]}")
    activations = parse_activations(
        kind,
        attributes.get("activations", []),
        attributes.get("activation_alpha", []),
        attributes.get("activation_beta", []),
        count,
    )
    layer = open_layer(
        lowering, node, geometry, x,
        starts=names[5:7] if kind == "LSTM" else names[5:6],
        lengths=lengths_of(node),
    )  # fmt: skip
    after = kind == "GRU" and bool(attributes.get("linear_before_reset", 0))
    lowering.headers.add("edgernn_cells.h")
    directions = []
    for d in range(count):
        peephole, memory = row(lowering, peepholes, d) if peepholes else (None, ())
        options = Options(
            activations=activations[d],
            clip=attributes.get("clip") or None,
            coupled=bool(attributes.get("input_forget", 0)),
            peephole=peephole,
        )
        suffix = "" if count == 1 else f"_{'forward' if not reverse[d] else 'backward'}"
        label = f"{names[2]}{suffix}"
        biases = bias(
            lowering, b, d, hidden if after else 0,
            (f"{names[3]}{suffix}", f"{label}_candidate_bias"),
        )  # fmt: skip
        product = matrix(lowering, w, d, slice(None), f"{names[1]}{suffix}")
        if kind == "GRU":
            cell = gru_cell(
                lowering,
                matrix(lowering, r, d, slice(2 * hidden), f"{label}_gates"),
                matrix(lowering, r, d, slice(2 * hidden, None), f"{label}_candidate"),
                biases.candidate, options, (hidden, geometry.batch), linear_before_reset=after,
            )  # fmt: skip
        else:
            make = lstm_cell if kind == "LSTM" else rnn_cell
            cell = make(matrix(lowering, r, d, slice(None), label), options, hidden)
        cell = replace(cell, memory=(*cell.memory, *biases.memory, *memory))
        directions.append(Direction(d, reverse[d], product, biases.start, cell))
    emit_layer(lowering, geometry, layer, directions)


def open_layer(
    lowering: Lowering,
    node: onnx.NodeProto,
    geometry: Geometry,
    x: Tensor,
    *,
    starts: list[str],
    lengths: str = "",
    directions_in_y: bool = True,
    dtype: str = "float32",
) -> Layer:
    """Define a node's outputs, and copy the initial states to where they are updated.

    Args:
        lowering: Where to.
        node: A recurrent node; its outputs are all outputs and the last states.
        geometry: Sizes.
        x: Input.
        starts: Names of the initial states; "" for zeros.
        lengths: Name of the steps of each batch row, if they differ.
        directions_in_y: True if y has an axis for directions.
        dtype: Of the states.
    """
    g = geometry
    outputs = [*node.output, *[""] * 3]
    y_shape: Shape
    if not directions_in_y:
        y_shape = (g.time, g.batch, g.hidden)
    elif g.batch_first:
        y_shape = (g.batch, g.time, g.directions, g.hidden)
    else:
        y_shape = (g.time, g.directions, g.batch, g.hidden)
    state_shape = (g.directions, g.batch, g.hidden)
    if g.batch_first:
        state_shape = (g.batch, g.directions, g.hidden)
    states = []
    for start, output in zip(starts, outputs[1:], strict=False):
        states.append(_state(lowering, start, output, state_shape, dtype))
    y = None
    if outputs[0]:
        y = lowering.destination(outputs[0], y_shape)
        lowering.define(outputs[0], y)
    pre = lowering.scratch("pre", (multiply(g.time, g.batch), g.width))
    return Layer(
        title=lowering.comment(node),
        x=x,
        y=y,
        h=states[0],
        c=states[1] if len(states) > 1 else None,
        pre=pre,
        lengths=_lengths(lowering, lengths, g.batch) if lengths else None,
    )


def _geometry(x: Tensor, hidden: int, gates: int, directions: int, batch_first: bool) -> Geometry:
    if len(x.shape) != 3:
        raise NotLoweredError(f"its input has {len(x.shape)} axes, not 3")
    time, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    if not isinstance(batch, int):
        raise NotLoweredError("its batch axis grows with the time steps", timed=True)
    return Geometry(time, batch, hidden, gates, directions, batch_first)


def _state(lowering: Lowering, start: str, output: str, shape: Shape, dtype: str) -> Tensor:
    """Return the memory of a state, holding its first value; shared with the caller's if it can."""
    first = lowering.tensor(start) if start else None
    if first is not None and (first.shape, first.dtype) != (shape, dtype):
        raise NotLoweredError(f"its initial state {start!r} is not {dtype} {list(shape)}")
    if first is not None and lowering.updates_in_place(start, output):
        lowering.define(output, first)
        return first
    make = lowering.destination if output else lowering.scratch
    state = make(output or "state", shape, dtype)
    if first is None:
        lowering.emit(f"memset({state.c}, 0, {state.size} * sizeof(*{state.c}));", writes=[state])
    else:
        lowering.copy(first, state)
    if output:
        lowering.define(output, state)
    return state


def _lengths(lowering: Lowering, name: str, batch: int) -> Tensor:
    tensor = lowering.tensor(name)
    if tensor.dtype != "int32" or tensor.shape != (batch,):
        raise NotLoweredError(f"its sequence_lens are not {batch} numbers of type int32")
    return tensor


Lower = Callable[[Lowering, onnx.NodeProto], None]


def states_of(node: onnx.NodeProto, count: int) -> tuple[list[str], str]:
    """Return the names of the ``count`` first states of one of our functions, and of its lengths.

    The name of the lengths is empty where all rows have all time steps.
    """
    lengths = lengths_of(node)
    inputs = list(node.input)[: -1 if lengths else None]
    return inputs[-count:], lengths


def reverse_of(attributes: dict[str, Any]) -> bool:
    """Return whether one of our functions walks backwards."""
    return [int(item) for item in attributes.get("reverse", [0])] == [1]
