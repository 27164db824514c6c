"""Our recurrent functions of int8, w8a16 and int4 as C; one call is one direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import multiply
from edgernn_exporters.codegen.integer_products import (
    FORMS,
    Form,
    IntegerProduct,
    input_product,
    state_product,
)
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.ops.cells_integer import (
    gru_cell,
    gru_cell_reset_before,
    lstm_cell,
    rnn_cell,
)
from edgernn_exporters.codegen.ops.recurrent import open_layer, reverse_of, states_of
from edgernn_exporters.codegen.ops.recurrent_loop import Cell, Direction, Geometry, emit_layer
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.quantization.functions.loops import named

_CELLS = ("LSTM", "GRUResetBefore", "GRU", "RNNTanh", "RNNRelu")
_GATES = {"LSTM": 4, "GRUResetBefore": 3, "GRU": 3, "RNNTanh": 1, "RNNRelu": 1}

KINDS = {
    named(cell, suffix, lengths=lengths): (cell, suffix)
    for cell in _CELLS for suffix in FORMS for lengths in (False, True)
}  # fmt: skip
"""Cell and form of the weights, by function."""


def recurrent_integer(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit a call of one of the functions of the integer precisions."""
    cell, suffix = KINDS[node.op_type]
    form = FORMS[suffix]
    states, lengths = states_of(node, 2 if cell == "LSTM" else 1)
    x = lowering.tensor(node.input[0])
    batch, hidden = x.shape[1], lowering.shape(states[0])[-1]
    if not isinstance(batch, int) or not isinstance(hidden, int):
        raise NotLoweredError("its batch axis grows with the time steps", timed=True)
    g = Geometry(x.shape[0], batch, hidden, _GATES[cell], directions=1, batch_first=False)
    layer = open_layer(
        lowering, node, g, x, starts=states, lengths=lengths, directions_in_y=False, dtype="int16"
    )
    xc, xi, w, wm, wb = node.input[1:6]
    product = input_product(lowering, form, (xc, xi, w, wm), multiply(g.time, batch))
    bias = lowering.weight(wb, float_constant(lowering.require_constant(wb, "bias")))
    made = _cell(lowering, node, cell, form, g)
    direction = Direction(0, reverse_of(attributes_of(node)), product, bias, made)
    emit_layer(lowering, g, layer, [direction])


def _cell(lowering: Lowering, node: onnx.NodeProto, cell: str, form: Form, g: Geometry) -> Cell:
    lowering.headers.add("edgernn_cells_i16.h")
    if cell == "GRU":
        return _gru(lowering, node, form, g)
    recurrent = _state_product(lowering, form, node.input[6:8], g.batch)
    if cell == "GRUResetBefore":
        candidate = _state_product(lowering, form, node.input[8:10], g.batch)
        return gru_cell_reset_before(lowering, recurrent, candidate, g.hidden, g.batch)
    if cell == "LSTM":
        units = lowering.require_constant(node.input[8], "unit of the cell state")
        return lstm_cell(recurrent, g.hidden, _cell_bits(units))
    if cell == "RNNTanh":
        return rnn_cell(recurrent, g.hidden)
    unit = lowering.require_constant(node.input[8], "unit of the state")
    return rnn_cell(recurrent, g.hidden, float(float_constant(unit).reshape(())))


def _gru(lowering: Lowering, node: onnx.NodeProto, form: Form, g: Geometry) -> Cell:
    """Split the recurrent weights: the candidate's product is not added to the gates'."""
    r, rm, rb = node.input[6:9]
    values, scale = _weights(lowering, form, [r, rm])
    split = 2 * g.hidden
    gates = state_product(lowering, form, f"{r}_gates", values[:, :split], scale[:split], g.batch)
    candidate = state_product(
        lowering, form, f"{r}_candidate", values[:, split:], scale[split:], g.batch, q=gates.q
    )
    bias = lowering.weight(rb, float_constant(lowering.require_constant(rb, "recurrent bias")))
    return gru_cell(lowering, gates, candidate, bias, g.hidden, g.batch)


def _state_product(lowering: Lowering, form: Form, names: Any, batch: int) -> IntegerProduct:
    values, scale = _weights(lowering, form, names)
    return state_product(lowering, form, names[0], values, scale, batch)


def _weights(
    lowering: Lowering, form: Form, names: Any
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    values = form.values(lowering.require_constant(names[0], "weight"))
    return values, float_constant(lowering.require_constant(names[1], "multiplier"))


def _cell_bits(units: NDArray[Any]) -> int:
    """Return F of a cell state's unit 2^-F from the constants (2^(15-F), 2^(13-F))."""
    bits = 13 - int(units.reshape(-1)[1]).bit_length() + 1
    if not 5 <= bits <= 13 or [int(u) for u in units] != [1 << (15 - bits), 1 << (13 - bits)]:
        raise NotLoweredError(f"the units of its cell state are {units.tolist()}")
    return bits
