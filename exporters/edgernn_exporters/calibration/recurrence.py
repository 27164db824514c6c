"""Look inside recurrent layers: pre-activations and cell states over all time steps.

ONNX Runtime returns h of every step, but neither the gates nor c (only its last value). Given h,
the pre-activations of all steps are two matrix products, and c takes an elementwise loop.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgernn.integer.activations import LIMIT, PRE_ACTIVATION_BITS
from edgernn.integer.parameters import CELL_BITS
from edgernn.reference import sigmoid
from edgernn_exporters.calibration.layers import Layer
from edgernn_exporters.quantization.recurrent import Recurrent

Floats = NDArray[np.float32]

_BLOCK_VALUES = 2**18  # pre-activations at a time
_LARGEST_PRE_ACTIVATION = LIMIT * 2.0**-PRE_ACTIVATION_BITS
_LARGEST_CELL = LIMIT * 2.0 ** -CELL_BITS[0]


class RecurrenceStatistics:
    """Collect how far the inside of one recurrent layer reaches.

    Args:
        layer: A recurrent layer.

    Attributes:
        largest_cell: Largest magnitude of c, for each direction; empty but for an LSTM.
        largest_state: Largest h of a relu RNN, for each direction; else empty.
    """

    def __init__(self, layer: Layer) -> None:
        assert layer.recurrent is not None
        self._operator, self._parts = layer.operator, layer.recurrent
        directions = len(self._parts.reverse)
        self.largest_cell = [0.0] * directions if layer.operator == "LSTM" else []
        self.largest_state = [0.0] * directions if self._parts.relu else []
        self._beyond = {"pre_activation": 0, "cell": 0}
        self._counted = {"pre_activation": 0, "cell": 0}

    def add(self, x: Floats, y: Floats, starts: list[Floats | None]) -> None:
        """Take in one run.

        Args:
            x: ``[T, B, I]``.
            y: Every h ``[T, D, B, H]``.
            starts: First h, and for an LSTM c, ``[D, B, H]``; None for zeros.
        """
        zeros = np.zeros(y.shape[1:], np.float32)
        h0, *rest = (zeros if start is None else start for start in starts)
        for d, reverse in enumerate(self._parts.reverse):
            order = slice(None, None, -1) if reverse else slice(None)
            states = y[order, d]
            if self._parts.relu:
                reached = max(float(states.max(initial=0.0)), float(h0[d].max(initial=0.0)))
                self.largest_state[d] = max(self.largest_state[d], reached)
                continue  # the unit of its pre-activations follows from the largest state
            c = rest[0][d] if rest else None
            before = np.concatenate([h0[d][None], states[:-1]])
            for values in _pre_activations(self._operator, self._parts, d, x[order], before):
                self._count("pre_activation", values, _LARGEST_PRE_ACTIVATION)
                if c is not None:
                    c = self._follow_cell(d, values, c)

    def saturation(self) -> dict[str, float]:
        """Return the share of values that an integer layer would limit, by quantity."""
        return {name: self._beyond[name] / count for name, count in self._counted.items() if count}

    def _follow_cell(self, d: int, values: Floats, c: Floats) -> Floats:
        i, _, f, g = np.split(values, 4, axis=-1)
        keep, moved = sigmoid(f), sigmoid(i) * np.tanh(g)
        cells = np.empty((len(values) + 1, *c.shape), np.float32)
        cells[0] = c
        for t in range(len(values)):
            cells[t + 1] = keep[t] * cells[t] + moved[t]
        self._count("cell", cells[1:], _LARGEST_CELL)
        self.largest_cell[d] = max(self.largest_cell[d], float(np.abs(cells).max()))
        last: Floats = cells[-1]
        return last

    def _count(self, quantity: str, values: Floats, limit: float) -> None:
        self._beyond[quantity] += int(np.count_nonzero(np.abs(values) > limit))
        self._counted[quantity] += values.size


def _pre_activations(
    operator: str, parts: Recurrent, d: int, x: Floats, h: Floats
) -> Iterator[Floats]:
    """Yield the pre-activations ``[t, B, G*H]`` of successive time steps, in running order.

    Args:
        operator: ONNX operator.
        parts: Weights.
        d: Direction.
        x: ``[T, B, I]`` in running order.
        h: State before each step ``[T, B, H]``.
    """
    hidden = parts.hidden_size
    w, r = parts.w[d].T, parts.r[d].T
    input_bias, recurrent_bias = np.split(parts.b[d], 2)
    steps = max(_BLOCK_VALUES // (x.shape[1] * w.shape[1]), 1)
    for start in range(0, len(x), steps):
        now = slice(start, start + steps)
        values = _product(x[now], w) + input_bias
        if operator != "GRU":
            yield values + (_product(h[now], r) + recurrent_bias)
            continue
        last = slice(2 * hidden, None)
        gates = slice(None, 2 * hidden)
        values[..., gates] += _product(h[now], r[:, gates]) + recurrent_bias[gates]
        reset = sigmoid(values[..., hidden : 2 * hidden])
        if parts.linear_before_reset:
            values[..., last] += reset * (_product(h[now], r[:, last]) + recurrent_bias[last])
        else:
            values[..., last] += _product(reset * h[now], r[:, last]) + recurrent_bias[last]
        yield values


def _product(x: Floats, w: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # lanes that BLAS computes on and drops
        rows: Floats = x.reshape(-1, x.shape[-1]) @ w  # one large product, not T small ones
    product: Floats = rows.reshape(*x.shape[:-1], w.shape[1])
    return product
