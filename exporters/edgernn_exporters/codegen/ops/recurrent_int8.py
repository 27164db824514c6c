"""Our 8-bit recurrent functions (precision ``int8-dynamic``) as C; one call is one direction."""

from __future__ import annotations

import onnx

from edgernn_exporters.codegen.dims import multiply
from edgernn_exporters.codegen.integer_products import IntegerProduct, dynamic_product
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.ops.cells import (
    DEFAULTS,
    Activation,
    Options,
    gru_cell,
    lstm_cell,
    rnn_cell,
)
from edgernn_exporters.codegen.ops.recurrent import open_layer, reverse_of, states_of
from edgernn_exporters.codegen.ops.recurrent_loop import Cell, Direction, Geometry, emit_layer
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.quantization.functions.loops import named

_CELLS = {"LSTM": "LSTM", "GRU": "GRU", "GRUResetBefore": "GRU", "RNNTanh": "RNN", "RNNRelu": "RNN"}
KINDS = {
    named(layer, "Int8Dynamic", lengths=lengths): cell
    for layer, cell in _CELLS.items() for lengths in (False, True)
}  # fmt: skip
"""Cell by function."""
_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def recurrent_int8(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit a call of one of the functions in `edgernn_exporters.quantization.functions`."""
    kind = KINDS[node.op_type]
    states, lengths = states_of(node, _STATES[kind])
    x = lowering.tensor(node.input[0])
    batch = x.shape[1]
    hidden = lowering.shape(states[0])[-1]
    if not isinstance(batch, int) or not isinstance(hidden, int):
        raise NotLoweredError("its batch axis grows with the time steps", timed=True)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    geometry = Geometry(x.shape[0], batch, hidden, gates, directions=1, batch_first=False)
    layer = open_layer(
        lowering, node, geometry, x, starts=states, lengths=lengths, directions_in_y=False
    )
    rows = multiply(geometry.time, batch)
    product = _product(lowering, node, 1, rows, bounded=False)
    bias = lowering.require_constant(node.input[3], "bias")
    stored = lowering.weight(node.input[3], float_constant(bias)) if bias.any() else None
    direction = Direction(
        0, reverse_of(attributes_of(node)), product, stored, _cell(lowering, node, kind, geometry)
    )
    emit_layer(lowering, geometry, layer, [direction])


def _product(
    lowering: Lowering, node: onnx.NodeProto, place: int, rows: object, *, bounded: bool
) -> IntegerProduct:
    """Make the product whose weights and scales are inputs ``place`` and ``place + 1``."""
    name, scale_name = node.input[place], node.input[place + 1]
    values = lowering.require_constant(name, "weight")
    scale = float_constant(lowering.require_constant(scale_name, "scale"))
    return dynamic_product(lowering, name, values, scale, rows, bounded=bounded)  # type: ignore[arg-type]


def _cell(lowering: Lowering, node: onnx.NodeProto, kind: str, geometry: Geometry) -> Cell:
    lowering.headers.add("edgernn_cells.h")
    hidden, batch = geometry.hidden, geometry.batch
    options = Options(tuple(Activation(name) for name in DEFAULTS[kind]))
    if kind == "LSTM":
        return lstm_cell(_product(lowering, node, 4, batch, bounded=True), options, hidden)
    if kind == "RNN":
        relu = node.op_type.startswith("RNNRelu")
        if relu:
            options = Options((Activation("relu"),))
        return rnn_cell(_product(lowering, node, 4, batch, bounded=not relu), options, hidden)
    if node.op_type.startswith("GRUResetBefore"):
        return gru_cell(
            lowering,
            _product(lowering, node, 4, batch, bounded=True),
            _product(lowering, node, 6, batch, bounded=True),
            None,
            options,
            (hidden, batch),
            linear_before_reset=False,
        )
    values = lowering.require_constant(node.input[4], "weight")
    scale = float_constant(lowering.require_constant(node.input[5], "scale"))
    recurrent_bias = lowering.require_constant(node.input[6], "recurrent bias")
    name, split = node.input[4], 2 * hidden
    gates = dynamic_product(
        lowering, f"{name}_gates", values[:, :split], scale[:split], batch, bounded=True
    )
    candidate = dynamic_product(
        lowering, f"{name}_candidate", values[:, split:], scale[split:], batch, bounded=True,
        q=gates.q,
    )  # fmt: skip
    bias = lowering.weight(node.input[6], float_constant(recurrent_bias))
    return gru_cell(
        lowering, gates, candidate, bias, options, (hidden, batch), linear_before_reset=True
    )
