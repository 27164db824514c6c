"""Recurrent layers in numpy, written to be read: what every other implementation must equal.

Source: ONNX operators LSTM-14, GRU-14 and RNN-14, with their gate order (LSTM ``i o f c``, GRU
``z r h``). Products are given as functions, so that the same loop defines the float layers and
those with 8-bit weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Product = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Weights:
    """Hold one direction of one recurrent layer with G gates.

    Attributes:
        input: ``[..., I] -> [..., G*H]``, the product with W.
        recurrent: ``[..., H] -> [..., G*H]``, the product with R.
        input_bias: ``[G*H]``.
        recurrent_bias: ``[G*H]``.
    """

    input: Product
    recurrent: Product
    input_bias: Floats
    recurrent_bias: Floats


@dataclass(frozen=True)
class Gates:
    """Hold how the gates of the cells are computed.

    Attributes:
        lstm: ``(i, o, f, g, c) -> (h, c)`` from pre-activations and the cell state.
        reset: ``(r, s) -> sigmoid(r) * s``.
        update: ``(z, a, h) -> n + sigmoid(z) * (h - n)`` with ``n = tanh(a)``.
        tanh: Of a plain RNN.
    """

    lstm: Callable[[Floats, Floats, Floats, Floats, Floats], tuple[Floats, Floats]]
    reset: Callable[[Floats, Floats], Floats]
    update: Callable[[Floats, Floats, Floats], Floats]
    tanh: Callable[[Floats], Floats]


def lstm(
    x: Floats, weights: Weights, h: Floats, c: Floats, *, gates: Gates | None = None
) -> tuple[Floats, Floats, Floats]:
    """Run an LSTM over ``x [T, B, I]`` from ``h, c [B, H]``; return ``y [T, B, H]``, h and c.

    Example:
        >>> y, h, c = lstm(x, float_weights(w, r, b), h, c)
    """
    before = weights.input(x) + (weights.input_bias + weights.recurrent_bias)
    y = np.empty((*x.shape[:2], h.shape[1]), np.float32)
    for t in range(len(x)):
        i, o, f, g = np.split(before[t] + weights.recurrent(h), 4, axis=-1)
        y[t], c = (gates or EXACT).lstm(i, o, f, g, c)
        h = y[t]
    return y, h, c


def gru(
    x: Floats,
    weights: Weights,
    h: Floats,
    *,
    linear_before_reset: bool = True,
    gates: Gates | None = None,
) -> tuple[Floats, Floats]:
    """Run a GRU over ``x [T, B, I]`` from ``h [B, H]``; return ``y [T, B, H]`` and h.

    ``linear_before_reset`` is PyTorch's form: the reset gate multiplies the recurrent product of
    the hidden gate. Without it the reset gate multiplies the state before the product.
    """
    gates = gates or EXACT
    hidden = h.shape[1]
    after = weights.recurrent_bias.copy()  # what cannot be added before the loop
    after[: 2 * hidden] = 0
    if not linear_before_reset:
        after[:] = 0
    before = weights.input(x) + (weights.input_bias + (weights.recurrent_bias - after))
    y = np.empty((*x.shape[:2], hidden), np.float32)
    for t in range(len(x)):
        recurrent = weights.recurrent(h) + after
        z, r = np.split(before[t, :, : 2 * hidden] + recurrent[:, : 2 * hidden], 2, axis=-1)
        if linear_before_reset:
            candidate = gates.reset(r, recurrent[:, 2 * hidden :])
        else:
            candidate = weights.recurrent(gates.reset(r, h))[:, 2 * hidden :]
        h = y[t] = gates.update(z, before[t, :, 2 * hidden :] + candidate, h)
    return y, h


def rnn(
    x: Floats, weights: Weights, h: Floats, *, activation: Callable[[Floats], Floats] = np.tanh
) -> tuple[Floats, Floats]:
    """Run a plain RNN over ``x [T, B, I]`` from ``h [B, H]``; return ``y [T, B, H]`` and h."""
    before = weights.input(x) + (weights.input_bias + weights.recurrent_bias)
    y = np.empty((*x.shape[:2], h.shape[1]), np.float32)
    for t in range(len(x)):
        h = y[t] = activation(before[t] + weights.recurrent(h))
    return y, h


def with_lengths(
    run: Callable[..., Sequence[NDArray[Any]]],
    x: Floats,
    lengths: Sequence[int],
    *starts: NDArray[Any],
) -> tuple[NDArray[Any], ...]:
    """Run each row of ``x [T, B, I]`` over its own steps: what ``sequence_lens`` means.

    Args:
        run: Runs ``x [t, 1, I]`` from states ``[..., 1, H]``; returns ``y [t, ..., 1, H]`` and the
            last states. A layer that walks backwards does so in here.
        x: Sequences; what lies beyond a row's length does not count.
        lengths: Steps of each row, 0 to T.
        starts: First states ``[..., B, H]``; a row of length 0 starts, and ends, at 0.

    Returns:
        ``y [T, ..., B, H]``, 0 beyond a row's length, and the last states.

    Example:
        >>> y, h, c = with_lengths(lambda x, h, c: lstm(x, weights, h, c), x, [5, 3], h, c)
    """
    rows = []
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        first = [start[..., one, :] if length else start[..., one, :] * 0 for start in starts]
        y, *lasts = run(x[:length, one], *first)
        padded = np.zeros((len(x), *y.shape[1:]), y.dtype)
        padded[:length] = y
        rows.append((padded, *lasts))
    return tuple(np.concatenate(parts, axis=-2) for parts in zip(*rows, strict=True))


def float_weights(w: Floats, r: Floats, b: Floats) -> Weights:
    """Make float weights from ONNX's ``W [G*H, I]``, ``R [G*H, H]`` and ``B [2*G*H]``."""
    input_bias, recurrent_bias = np.split(b, 2)
    return Weights(
        lambda x: _float_product(x, w), lambda h: _float_product(h, r), input_bias, recurrent_bias
    )


def _float_product(x: Floats, w: Floats) -> Floats:
    # BLAS kernels for odd sizes compute on lanes that they then drop. What lies there can raise
    # the processor's "invalid" flag, for which numpy warns though every result is right.
    with np.errstate(invalid="ignore", over="ignore"):
        product: Floats = x @ w.T
    return product


def int8_dynamic_weights(
    w: NDArray[np.uint8],
    w_scale: Floats,
    r: NDArray[np.uint8],
    r_scale: Floats,
    b: Floats,
    *,
    bounded: bool = True,
) -> Weights:
    """Make weights of precision ``int8-dynamic``.

    Args:
        w: ``[I, G*H]``, zero point 128.
        w_scale: ``[G*H]``.
        r: ``[H, G*H]``, zero point 128.
        r_scale: ``[G*H]``.
        b: ONNX's ``B [2*G*H]``.
        bounded: True if the state lies in [-1, 1] and takes the fixed scale 1/127.
    """
    input_bias, recurrent_bias = np.split(b, 2)
    product = bounded_product if bounded else row_product
    return Weights(
        lambda x: row_product(x, w, w_scale),
        lambda h: product(h, r, r_scale),
        input_bias,
        recurrent_bias,
    )


def row_product(x: Floats, w: NDArray[np.uint8], scale: Floats) -> Floats:
    """Multiply ``x [..., K]`` by 8-bit weights ``[K, N]``, each row at its own scale max/127."""
    unit = np.float32(1) / np.float32(127)
    row = np.maximum(np.abs(x).max(axis=-1, keepdims=True) * unit, np.float32(1e-30))
    steps = np.rint(x / row).astype(np.int32)
    product: Floats = integer_product(steps, w).astype(np.float32) * scale * row
    return product


def bounded_product(h: Floats, r: NDArray[np.uint8], scale: Floats) -> Floats:
    """Multiply ``h [..., K]`` in [-1, 1] by 8-bit weights ``[K, N]``, at the scale 1/127."""
    unit = np.float32(1) / np.float32(127)
    steps = np.clip(np.rint(h / unit), -128, 127).astype(np.int32)
    return integer_product(steps, r).astype(np.float32) * (scale * unit)


def integer_product(steps: NDArray[np.int32], weights: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Multiply integers exactly, ``[..., K]`` by ``[K, N]`` with zero point 128."""
    product: NDArray[np.int32] = steps @ (weights.astype(np.int32) - 128)
    return product


def sigmoid(x: Floats) -> Floats:
    """Return ``1 / (1 + exp(-x))`` without overflow."""
    half: Floats = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return half


def _exact_lstm(i: Floats, o: Floats, f: Floats, g: Floats, c: Floats) -> tuple[Floats, Floats]:
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def _exact_update(z: Floats, a: Floats, h: Floats) -> Floats:
    n = np.tanh(a)
    value: Floats = n + sigmoid(z) * (h - n)
    return value


EXACT = Gates(_exact_lstm, lambda r, s: sigmoid(r) * s, _exact_update, np.tanh)
"""Gates by numpy's own tanh, as the formulas say."""
