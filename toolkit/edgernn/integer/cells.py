"""Integer layers in numpy: what ONNX Runtime, generated C and training compute, bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgernn.integer.activations import (
    LIMIT,
    STATE_BITS,
    Integers,
    multiply_q15,
    narrow,
    round_to_int16,
    saturate,
    sigmoid,
    tanh,
    tanh_of_cell,
)
from edgernn.integer.parameters import InputScale, LinearParameters, RecurrentParameters

Floats = NDArray[np.float32]
_HALF = 1 << (STATE_BITS - 1)


def quantize_input(x: Floats, scale: InputScale, input_bits: int) -> Integers:
    """Return ``rint((x - center) * inverse)``, within -128…127 or ±32767."""
    steps = np.rint((x - scale.center) * scale.inverse)
    low, high = (-128, 127) if input_bits == 8 else (-LIMIT, LIMIT)
    integers: Integers = np.clip(steps, low, high).astype(np.int32)
    return integers


def scaled_product(q: Integers, values: NDArray[np.int8], multiplier: Floats) -> Floats:
    """Return ``float(q @ values) * multiplier``: an exact sum, then two roundings to float32."""
    exact = q.astype(np.float64) @ values.astype(np.float64)
    product: Floats = exact.astype(np.float32) * multiplier
    return product


def linear(x: Floats, layer: LinearParameters) -> Floats:
    """Run a linear layer on ``x [..., K]``; return float32 ``[..., N]``."""
    q = quantize_input(x, layer.x, layer.precision.input_bits)
    result: Floats = scaled_product(q, layer.values, layer.multiplier) + layer.bias
    return result


def recurrent(
    x: Floats, layer: RecurrentParameters, h: Integers, c: Integers | None = None
) -> tuple[Integers, ...]:
    """Run one direction of a layer over ``x [T, B, I]`` from the integer states ``[B, H]``.

    Returns:
        ``y [T, B, H]``, the last h, and for an LSTM the last c. One unit of y and h is
        ``layer.state_unit``, one of c is ``2^-cell_bits``.
    """
    before = linear(x, layer.input)
    y = np.empty((*x.shape[:2], layer.hidden_size), np.int32)
    for t in range(len(x)):
        if layer.cell == "lstm":
            assert c is not None
            h, c = lstm_step(before[t], layer, h, c)
        else:
            h = (gru_step if layer.cell == "gru" else rnn_step)(before[t], layer, h)
        y[t] = h
    return (y, h) if c is None else (y, h, c)


def lstm_step(
    before: Floats, layer: RecurrentParameters, h: Integers, c: Integers
) -> tuple[Integers, Integers]:
    """Return the next h and c from ``before [B, 4H]``, the product with the input."""
    a = round_to_int16(_recurrent_product(h, layer, slice(None)) + before)
    i, o, f, g = np.split(a, 4, axis=-1)
    moved = sigmoid(i) * tanh(g) >> (STATE_BITS - layer.cell_bits)
    c = saturate((sigmoid(f) * c + moved + _HALF) >> STATE_BITS)
    return multiply_q15(sigmoid(o), tanh_of_cell(c, layer.cell_bits)), c


def gru_step(before: Floats, layer: RecurrentParameters, h: Integers) -> Integers:
    """Return the next h from ``before [B, 3H]``, the product with the input."""
    size = 2 * layer.hidden_size
    gates, last = slice(None, size), slice(size, None)
    z_r = sigmoid(round_to_int16(_recurrent_product(h, layer, gates) + before[..., gates]))
    z, r = np.split(z_r, 2, axis=-1)
    if layer.recurrent_bias is not None:
        s = round_to_int16(_recurrent_product(h, layer, last) + layer.recurrent_bias)
        p = saturate(round_to_int16(before[..., last]) + multiply_q15(r, s))
    else:
        p = round_to_int16(_recurrent_product(multiply_q15(r, h), layer, last) + before[..., last])
    n = tanh(p)
    following: Integers = (z * h + ((1 << STATE_BITS) - z) * n + _HALF) >> STATE_BITS
    return following


def rnn_step(before: Floats, layer: RecurrentParameters, h: Integers) -> Integers:
    """Return the next h from ``before [B, H]``, the product with the input."""
    a = round_to_int16(_recurrent_product(h, layer, slice(None)) + before)
    return np.maximum(a, 0) if layer.relu else tanh(a)


def _recurrent_product(h: Integers, layer: RecurrentParameters, columns: slice) -> Floats:
    q = narrow(h) if layer.precision.input_bits == 8 else h
    return scaled_product(q, layer.recurrent[:, columns], layer.recurrent_multiplier[columns])
