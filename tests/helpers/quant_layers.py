"""Float layers to quantize, and what the numpy definition says their quantized forms return."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from edgernn.integer import INTEGER, LayerRange, cells, recurrent_parameters
from edgernn.training.onnx_layout import kind_of, onnx_weights

KINDS = ("lstm", "gru", "rnn-tanh", "rnn-relu")


def float_layer(
    kind: str,
    inputs: int,
    hidden: int,
    *,
    layers: int = 1,
    both: bool = False,
    bias: bool = True,
    batch_first: bool = False,
    gain: float = 2.0,
) -> nn.RNNBase:
    """Make a layer with PyTorch's random weights times ``gain`` (1 for relu, which would grow)."""
    name, _, nonlinearity = kind.partition("-")
    make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[name]
    own = {"nonlinearity": nonlinearity} if nonlinearity else {}
    layer = make(
        inputs, hidden, layers, bidirectional=both, bias=bias, batch_first=batch_first, **own
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.0 if nonlinearity == "relu" else gain)
    return layer


def defined(
    layer: nn.RNNBase, precision: str, ranges: Sequence[LayerRange], x: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run `edgernn.integer.cells` on ``x [T, B, I]`` from zero states.

    Returns:
        The outputs ``[T, B, D*H]`` and the last states, each ``[layers * D, B, H]``, as floats.
    """
    widths, lasts = INTEGER[precision], []
    for index in range(layer.num_layers):
        w, r, b = (None if t is None else t.detach().numpy() for t in onnx_weights(layer, index))
        b = np.zeros((len(w), 2 * w.shape[1]), np.float32) if b is None else b
        found, outputs = ranges[index], []
        for d in range(2 if layer.bidirectional else 1):
            made = recurrent_parameters(
                kind_of(layer), w[d], r[d], b[d],
                found.input_scale(widths.input_bits), widths,
                largest_cell=found.largest_cell[d] if found.largest_cell else 0.0,
                largest_state=found.largest_state[d] if found.largest_state else 0.0,
                relu=layer.mode == "RNN_RELU",
            )  # fmt: skip
            zeros = np.zeros((x.shape[1], layer.hidden_size), np.int32)
            turn = slice(None, None, -1 if d else 1)
            c = zeros if layer.mode == "LSTM" else None
            y, *states = cells.recurrent(x[turn], made, zeros, c)
            units = (made.state_unit, 2.0**-made.cell_bits)
            outputs.append((y[turn] * np.float64(made.state_unit)).astype(np.float32))
            lasts.append([(s * u).astype(np.float32) for s, u in zip(states, units, strict=False)])
        x = np.concatenate(outputs, axis=-1)
    return x, [np.stack(state) for state in zip(*lasts, strict=True)]
