"""What an integer layer computes with, made from float weights and the ranges of its inputs.

The quantizer writes these numbers into ONNX files and `edgernn.training` computes with them while
it trains, so both go through the functions here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn.integer.activations import PRE_ACTIVATION_BITS, STATE_BITS
from edgernn.integer.weights import MOST_16_BIT, column_blocks, quantize_rows

Floats = NDArray[np.float32]

CELL_BITS = (5, 13)
"""Fewest and most fractional bits of an LSTM cell state: ranges of ±1024 to ±4."""


@dataclass(frozen=True)
class Precision:
    """Say how wide the integers of a precision are.

    Attributes:
        name: ``"int8"``, ``"w8a16"`` or ``"int4"``.
        weight_bits: Bits of a weight.
        input_bits: Bits of what weights are multiplied with.
    """

    name: str
    weight_bits: int
    input_bits: int

    @property
    def most(self) -> int | None:
        """Largest sum of magnitudes of a weight row, or None where none can overflow."""
        return MOST_16_BIT if self.input_bits == 16 else None


INTEGER = {item.name: item for item in (Precision("int8", 8, 8), Precision("w8a16", 8, 16),
                                        Precision("int4", 4, 8))}  # fmt: skip


@dataclass(frozen=True)
class InputScale:
    """Say which integers an input becomes: ``q = rint((x - center) * inverse)``, limited.

    Attributes:
        center: What becomes 0: ``[K]``, one for each channel, or ``[1]``.
        inverse: Units of q in 1, of the same shape.
    """

    center: Floats
    inverse: Floats

    @staticmethod
    def of_range(low: Floats, high: Floats, input_bits: int) -> InputScale:
        """Make the scale at which ``low`` to ``high`` uses all of ±127 or ±32767.

        A channel that is constant (low equal to high) becomes 0 and keeps its value exactly.
        """
        center = ((low.astype(np.float64) + high) / 2).astype(np.float32)
        reach = np.maximum(high - center, center - low).astype(np.float64)
        least = np.maximum(np.abs(center) * 1e-6, 1e-30)  # below that, x - center is rounding
        inverse = (2 ** (input_bits - 1) - 1) / np.maximum(reach, least)
        return InputScale(center, inverse.astype(np.float32))


@dataclass(frozen=True)
class LinearParameters:
    """Hold an integer product ``y = float(q @ values) * multiplier + bias``.

    Attributes:
        x: How inputs become q.
        values: ``[K, N]`` int8.
        multiplier: ``[N]`` float32.
        bias: ``[N]`` float32.
        precision: Widths.
    """

    x: InputScale
    values: NDArray[np.int8]
    multiplier: Floats
    bias: Floats
    precision: Precision


@dataclass(frozen=True)
class RecurrentParameters:
    """Hold one direction of an integer recurrent layer with G gates, in ONNX's gate order.

    Attributes:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        input: Product with W ``[I, G*H]``; results and bias are in units of a pre-activation.
        recurrent: ``[H, G*H]`` int8.
        recurrent_multiplier: ``[G*H]`` float32.
        recurrent_bias: ``[H]`` float32, of the candidate of a GRU with linear_before_reset
            (PyTorch's form); None for every other layer.
        cell_bits: Fractional bits of the LSTM's cell state.
        relu: True for an RNN with relu instead of tanh.
        state_unit: Value of one unit of h: 2^-15, or a calibrated power of two for relu.
    """

    cell: str
    input: LinearParameters
    recurrent: NDArray[np.int8]
    recurrent_multiplier: Floats
    recurrent_bias: Floats | None = None
    cell_bits: int = CELL_BITS[1]
    relu: bool = False
    state_unit: float = 2.0**-STATE_BITS

    @property
    def precision(self) -> Precision:
        """Widths of the layer's integers."""
        return self.input.precision

    @property
    def hidden_size(self) -> int:
        """Units of the layer."""
        return int(self.recurrent.shape[0])


def linear_parameters(
    weight: Floats, bias: Floats | None, x: InputScale, precision: Precision, name: str = "weight"
) -> LinearParameters:
    """Quantize a linear layer.

    Args:
        weight: ``[K, N]``.
        bias: ``[N]``, or None.
        x: How its inputs become integers.
        precision: Widths.
        name: Of the layer, for messages.

    Raises:
        ModelError: A weight is NaN or infinite.
    """
    integer = quantize_rows(
        weight, name, bits=precision.weight_bits, most=precision.most, inverse=x.inverse
    )
    center = np.broadcast_to(x.center, weight.shape[:1]).astype(np.float64)[:, None]
    summed = np.concatenate([  # sums in one order, however the caller holds the weights
        (center * np.ascontiguousarray(weight[:, columns])).sum(axis=0)
        for columns in column_blocks(*weight.shape)
    ]) + (0 if bias is None else bias)  # fmt: skip
    return LinearParameters(x, integer.values, integer.scale, summed.astype(np.float32), precision)


def recurrent_parameters(
    cell: str,
    w: Floats,
    r: Floats,
    b: Floats,
    x: InputScale,
    precision: Precision,
    *,
    linear_before_reset: bool = True,
    largest_cell: float = 0.0,
    largest_state: float = 0.0,
    relu: bool = False,
    name: str = "layer",
) -> RecurrentParameters:
    """Quantize one direction of a recurrent layer.

    Args:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        w: ONNX's ``[G*H, I]``.
        r: ``[G*H, H]``.
        b: ``[2*G*H]``.
        x: How its inputs become integers.
        precision: Widths.
        linear_before_reset: PyTorch's form of the GRU.
        largest_cell: Largest magnitude of the LSTM's cell state (see `cell_bits`).
        largest_state: Largest state of a relu RNN.
        relu: True for an RNN with relu.
        name: Of the layer, for messages.

    Raises:
        ModelError: A weight is NaN or infinite.
    """
    hidden = r.shape[1]
    unit = 2.0**-STATE_BITS
    step = 2.0**-PRE_ACTIVATION_BITS
    if relu:
        step = unit = 2.0 ** -_fractional_bits(largest_state, -16, STATE_BITS)
    input_bias, recurrent_bias = np.split(b.astype(np.float64), 2)
    summed, apart = input_bias + recurrent_bias, None
    if cell == "gru" and linear_before_reset:
        summed[2 * hidden :] = input_bias[2 * hidden :]
        apart = (recurrent_bias[2 * hidden :] / step).astype(np.float32)
    product = linear_parameters(w.T, summed.astype(np.float32), x, precision, f"{name}.W")
    integer = quantize_rows(r.T, f"{name}.R", bits=precision.weight_bits, most=precision.most)
    narrowed = unit * 2 ** (16 - precision.input_bits)  # value of one unit of what R multiplies
    return RecurrentParameters(
        cell=cell,
        input=LinearParameters(
            x,
            product.values,
            product.multiplier * np.float32(1 / step),
            product.bias * np.float32(1 / step),
            precision,
        ),
        recurrent=integer.values,
        recurrent_multiplier=integer.scale * np.float32(narrowed / step),
        recurrent_bias=apart,
        cell_bits=cell_bits(largest_cell),
        relu=relu,
        state_unit=unit,
    )


def cell_bits(largest: float) -> int:
    """Return how many fractional bits an int16 cell state has that reaches ``largest``."""
    return _fractional_bits(largest, *CELL_BITS)


def _fractional_bits(largest: float, fewest: int, most: int) -> int:
    bits = most
    while bits > fewest and largest * 2.0**bits > 32767:
        bits -= 1
    return bits
