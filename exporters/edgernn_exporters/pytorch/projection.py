"""Export ``nn.LSTM(proj_size=P)``, for which ONNX has no operator, as a ``Scan``.

One `Scan` for each layer and direction. What does not wait for the state, ``x W + b``, is one
product over the whole sequence in front of it; its body holds two products, by R and by the
projection. The weights are initializers of the graph, which the body captures.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html; ONNX operator Scan-11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import evaluator
from onnxscript import opset20 as op
from torch import Tensor, nn

from edgernn.training.onnx_layout import onnx_weights
from edgernn_exporters.pytorch.packed import Rows
from edgernn_exporters.pytorch.recurrent import library, shapes_of

REVERSE = "_reverse"

library.define(  # type: ignore[no-untyped-call]
    "lstm_projected(Tensor x, Tensor w, Tensor r, Tensor p, Tensor? b, Tensor h, Tensor c,"
    " Tensor? valid, bool reverse) -> (Tensor, Tensor, Tensor)"
)


def suffixes(layer: nn.RNNBase) -> tuple[str, ...]:
    """Return how the names of the weights of each direction end."""
    return ("", REVERSE) if layer.bidirectional else ("",)


def register_weights(layer: nn.LSTM, index: int) -> None:
    """Add one layer's weights as the `Scan` reads them, as buffers of the layer.

    ``W_l0 [I, 4*H]``, ``R_l0 [P, 4*H]``, ``P_l0 [H, P]`` and ``B_l0 [4*H]`` (None without bias),
    gates in ONNX's order, and the same with ``_reverse``.
    """
    w, r, b = onnx_weights(layer, index)
    for direction, suffix in enumerate(suffixes(layer)):
        name = f"l{index}{suffix}"
        bias = None if b is None else b[direction].reshape(2, -1).sum(0)
        layer.register_buffer(f"W_{name}", w[direction].T.contiguous())
        layer.register_buffer(f"R_{name}", r[direction].T.contiguous())
        layer.register_buffer(f"P_{name}", getattr(layer, f"weight_hr_{name}").T.contiguous())
        layer.register_buffer(f"B_{name}", bias)


def run_projected(
    layer: nn.LSTM, index: int, x: Tensor, h: Tensor, c: Tensor, rows: Rows | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer on ``x [T, B, I]``.

    Args:
        layer: Layer whose weights are registered.
        index: Number of the stacked layer.
        x: Input.
        h: State before, ``[D, B, P]``.
        c: Cell state before, ``[D, B, H]``.
        rows: Lengths of the rows; None if all are as long as the time axis.

    Returns:
        ``[T, B, D*P]``, and both states after each row's last valid step.
    """
    valid = None
    if rows is not None:  # as ONNX's LSTM does: a row of length 0 ends in zeros
        valid, some = rows.valid, rows.lengths[:, None] > 0
        h, c = torch.where(some, h, 0.0), torch.where(some, c, 0.0)
    # of one direction squeeze() makes a Squeeze, which costs nothing; h[0] would make a Gather
    before = [(h.squeeze(0), c.squeeze(0))] if len(h) == 1 else [*zip(h, c, strict=True)]
    results: list[tuple[Tensor, Tensor, Tensor]] = []
    for suffix, states in zip(suffixes(layer), before, strict=True):
        weights = [getattr(layer, f"{letter}_l{index}{suffix}") for letter in "WRPB"]
        results.append(
            torch.ops.edgernn.lstm_projected(x, *weights, *states, valid, suffix == REVERSE)
        )
    if len(results) == 1:
        y, h, c = results[0]
        return y, h[None], c[None]
    ys, hs, cs = zip(*results, strict=True)
    return torch.cat(ys, 2), torch.stack(hs), torch.stack(cs)


@shapes_of("edgernn::lstm_projected")
def _shapes(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    p: Tensor,
    b: Tensor | None,
    h: Tensor,
    c: Tensor,
    valid: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y = x.new_empty(x.shape[0], x.shape[1], p.shape[1])
    return y, torch.empty_like(h), torch.empty_like(c)


def _node(
    x: Any, w: Any, r: Any, p: Any, b: Any, h: Any, c: Any, valid: Any, reverse: bool
) -> tuple[Any, Any, Any]:
    gates = op.MatMul(x, w)
    if b is not None:
        gates = op.Add(gates, b)
    inputs = [gates] if valid is None else [gates, valid]
    scan = ir.node(
        "Scan",
        [h, c, *inputs],
        {
            "body": _step(r, p, masked=valid is not None),
            "num_scan_inputs": len(inputs),
            "scan_input_directions": [int(reverse)] * len(inputs),
            "scan_output_directions": [int(reverse)],
        },
        num_outputs=3,
    )
    # op.Scan would return one value: the number of its outputs is not in the operator's schema
    evaluator.default().nodes.append(scan)
    last_h, last_c, y = scan.outputs
    return y, last_h, last_c


def _step(r: Any, p: Any, *, masked: bool) -> ir.Graph:
    """Return one time step: ``(h, c, x W + b[, valid]) -> (h, c, y)``."""
    hidden, projected = p.shape
    made: list[ir.Node] = []
    prefix = r.name.removeprefix("b_module_")  # what torch.export puts before names of buffers

    def name(what: str) -> str:  # names within a graph and its bodies must differ
        return f"{prefix}.{what}"

    def value(what: str, size: int, kind: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        shape = ir.Shape([None, size])  # a row for each sequence
        return ir.Value(name=name(what), shape=shape, type=ir.TensorType(kind))

    def add(what: str, operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        made.append(ir.node(operator, inputs, attributes, name=name(f"node_{what}")))
        made[-1].outputs[0].name = name(what)
        return made[-1].outputs[0]

    h, c, gates = value("h", projected), value("c", hidden), value("gates", 4 * hidden)
    inputs = [h, c, gates]
    total = add("total", "Add", gates, add("recurrent", "MatMul", h, r))
    four = {"axis": 1, "num_outputs": 4}
    split = ir.node("Split", [total], four, num_outputs=4, name=name("node_split"))
    made.append(split)
    for part, letter in zip(split.outputs, "iofg", strict=True):
        part.name = name(letter)
    parts = zip("iof", split.outputs, strict=False)
    i, o, f = (add(f"{letter}_open", "Sigmoid", part) for letter, part in parts)
    new = add("new", "Mul", i, add("candidate", "Tanh", split.outputs[3]))
    next_c = add("c_next", "Add", add("kept", "Mul", f, c), new)
    shown = add("shown", "Mul", o, add("squashed", "Tanh", next_c))
    next_h = add("h_next", "MatMul", shown, p)
    if masked:
        valid = value("valid", 1, ir.DataType.BOOL)
        inputs.append(valid)
        y = add("y", "Where", valid, next_h, add("zero", "Constant", value_float=0.0))
        next_h = add("h_kept", "Where", valid, next_h, h)
        next_c = add("c_kept", "Where", valid, next_c, c)
    else:
        y = add("y", "Identity", next_h)  # each output has a name of its own
    for output, size in ((next_h, projected), (next_c, hidden), (y, projected)):
        output.shape, output.type = ir.Shape([None, size]), ir.TensorType(ir.DataType.FLOAT)
    return ir.Graph(inputs, [next_h, next_c, y], nodes=made, name=name("step"))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.edgernn.lstm_projected.default: _node,
}
