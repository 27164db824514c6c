"""ONNX's LSTM, GRU and RNN with every attribute, and our 8-bit functions, as C.

Source: ONNX operators LSTM-14 and -22, GRU-14 and -22, RNN-14 and -22.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Shape, multiply
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.ops.cells import (
    Options,
    gru_cell,
    lstm_cell,
    parse_activations,
    rnn_cell,
)
from edgernn_exporters.codegen.ops.recurrent_loop import (
    Cell,
    Direction,
    Geometry,
    Layer,
    emit_layer,
)
from edgernn_exporters.codegen.products import float_product
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Tensor

Floats = NDArray[np.float32]

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
    w = float_constant(lowering.require_constant(names[1], "input weight W"))
    r = float_constant(lowering.require_constant(names[2], "recurrent weight R"))
    hidden: int = attributes.get("hidden_size") or r.shape[-1]
    gates = GATES[kind]
    b = np.zeros((count, 2 * gates * hidden), np.float32)
    if names[3]:
        b = float_constant(lowering.require_constant(names[3], "bias B"))
    x = lowering.tensor(names[0])
    wanted = ((count, gates * hidden, x.shape[-1]), (count, gates * hidden, hidden),
              (count, 2 * gates * hidden))  # fmt: skip
    if (w.shape, r.shape, b.shape) != wanted:
        shapes = ", ".join(str(list(shape)) for shape in (w.shape, r.shape, b.shape))
        raise NotLoweredError(
            f"its weights have shapes {shapes}, but hidden_size {hidden}, its direction and its "
            f"input need {', '.join(str(list(shape)) for shape in wanted)}"
        )
    geometry = _geometry(x, hidden, gates, count, bool(attributes.get("layout", 0)))
    peepholes = None
    if kind == "LSTM" and names[7]:
        peepholes = float_constant(lowering.require_constant(names[7], "peephole P"))
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
        lengths=names[4],
    )  # fmt: skip
    directions = []
    for d in range(count):
        options = Options(
            activations=activations[d],
            clip=attributes.get("clip") or None,
            coupled=bool(attributes.get("input_forget", 0)),
            peephole=None if peepholes is None else lowering.weight(names[7], peepholes[d]),
        )
        suffix = "" if count == 1 else f"_{'forward' if not reverse[d] else 'backward'}"
        after = bool(attributes.get("linear_before_reset", 0))
        make = _Float(lowering, f"{names[2]}{suffix}", geometry, options)
        product = float_product(lowering, f"{names[1]}{suffix}", w[d])
        cell, bias = make.cell(kind, r[d], b[d], linear_before_reset=after)
        stored = lowering.weight(f"{names[3]}{suffix}", bias) if bias.any() else None
        directions.append(Direction(d, reverse[d], product, stored, cell))
    emit_layer(lowering, geometry, layer, directions)


class _Float:
    """Makes the float cell of one direction."""

    def __init__(
        self, lowering: Lowering, label: str, geometry: Geometry, options: Options
    ) -> None:
        self._lowering, self._label = lowering, label
        self._geometry, self._options = geometry, options

    def cell(
        self, kind: str, r: Floats, b: Floats, *, linear_before_reset: bool
    ) -> tuple[Cell, Floats]:
        """Return the cell and the bias of the input product."""
        lowering, label, hidden = self._lowering, self._label, self._geometry.hidden
        lowering.headers.add("edgernn_cells.h")
        input_bias, recurrent_bias = np.split(b, 2)
        summed = input_bias + recurrent_bias
        if kind != "GRU":
            product = float_product(lowering, label, r)
            make = lstm_cell if kind == "LSTM" else rnn_cell
            return make(product, self._options, hidden), summed
        gates = float_product(lowering, f"{label}_gates", r[: 2 * hidden])
        candidate = float_product(lowering, f"{label}_candidate", r[2 * hidden :])
        bias = None
        if linear_before_reset:
            summed = np.concatenate([summed[: 2 * hidden], input_bias[2 * hidden :]])
            if recurrent_bias[2 * hidden :].any():
                bias = lowering.weight(f"{label}_candidate_bias", recurrent_bias[2 * hidden :])
        cell = gru_cell(
            lowering, gates, candidate, bias, self._options, (hidden, self._geometry.batch),
            linear_before_reset=linear_before_reset,
        )  # fmt: skip
        return cell, summed


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


def reverse_of(attributes: dict[str, Any]) -> bool:
    """Return whether one of our functions walks backwards."""
    return [int(item) for item in attributes.get("reverse", [0])] == [1]
