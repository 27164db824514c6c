"""Sigmoid and tanh of integers, and the other operations that integer gates are made of.

Source: docs/numerics.md. Pre-activations are Q3.12 (one unit is 2^-12, limits are ±8), states of
tanh cells and gates are Q0.15 (one unit is 2^-15). Every function takes and returns int32 arrays
and uses only additions, multiplications and shifts that fit in 32 bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int32]

LIMIT = 32767
"""Largest magnitude of an int16 value; -32768 is never used."""
PRE_ACTIVATION_BITS = 12
STATE_BITS = 15


# fmt: off
TANH_START = (
    0, 4074, 8025, 11743, 15143, 18173, 20813, 23066, 24956, 26519, 27797, 28830, 29660, 30322,
    30847, 31262, 31589, 31846, 32048, 32206, 32329, 32426, 32501, 32560, 32606, 32642, 32670,
    32691, 32708, 32722, 32732, 32740, 32746, 32751, 32755, 32758, 32760, 32762, 32763, 32764,
    32765, 32766, 32766, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
)
TANH_SLOPE = (
    16426, 16175, 15434, 14294, 12886, 11345, 9761, 8249, 6867, 5643, 4574, 3694, 2950, 2344,
    1857, 1469, 1157, 911, 709, 555, 441, 338, 269, 207, 160, 120, 89, 82, 67, 38, 31, 24, 21, 15,
    10, 7, 7, 4, 6, 6, 3, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
)
TANH_BEND = (
    126, 366, 561, 695, 764, 787, 751, 690, 615, 534, 442, 376, 304, 245, 197, 161, 128, 104, 78,
    62, 54, 37, 33, 23, 17, 9, 3, 13, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
)
# fmt: on
"""tanh on 64 intervals of 1/8 from 0 to 8: value in Q0.15, slope, and how much the slope falls.

Chosen by `scripts/fit_integer_tanh.py` for the least largest error over all arguments.
"""

_START, _SLOPE, _BEND = (
    np.array(column, np.int32) for column in (TANH_START, TANH_SLOPE, TANH_BEND)
)


def saturate(x: Integers) -> Integers:
    """Limit to ±32767."""
    limited: Integers = np.clip(x, -LIMIT, LIMIT)
    return limited


def multiply_q15(a: Integers, b: Integers) -> Integers:
    """Return ``a * b / 2^15`` rounded, half up; both within ±32767.

    That is PMULHRSW on x86 and SQRDMULH on Arm.
    """
    product: Integers = (a * b + (1 << 14)) >> 15
    return product


def tanh_of_magnitude(a: Integers) -> Integers:
    """Return tanh in Q0.15 of ``a`` in 0…65535, whose unit is 2^-13.

    The largest error is 1.44 units, 4.4e-5.
    """
    interval, t = a >> 10, a & 1023
    slope = _SLOPE[interval] - ((t * _BEND[interval] + 512) >> 10)
    value: Integers = _START[interval] + ((t * slope + 2048) >> 12)
    return value


def tanh(p: Integers) -> Integers:
    """Return tanh in Q0.15 of a pre-activation in Q3.12."""
    value: Integers = np.sign(p) * tanh_of_magnitude(2 * np.abs(p))
    return value


def sigmoid(p: Integers) -> Integers:
    """Return sigmoid in Q0.15 of a pre-activation in Q3.12: ``1/2 + tanh(p/2)/2``.

    Results lie in 11…32757. The largest error is 3.7e-5.
    """
    value: Integers = (1 << 14) + np.sign(p) * ((tanh_of_magnitude(np.abs(p)) + 1) >> 1)
    return value


def tanh_of_cell(c: Integers, bits: int) -> Integers:
    """Return tanh in Q0.15 of an LSTM cell state with ``bits`` fractional bits (at most 13)."""
    magnitude = np.minimum(np.abs(c) << (13 - bits), 65535)
    value: Integers = np.sign(c) * tanh_of_magnitude(magnitude)
    return value


def narrow(h: Integers) -> Integers:
    """Return the 8-bit matrix input of a 16-bit state: ``h / 256`` rounded half to even.

    Results lie in -128…127.
    """
    value: Integers = np.minimum((h + 127 + ((h >> 8) & 1)) >> 8, 127)
    return value


def round_to_int16(a: NDArray[np.float32]) -> Integers:
    """Round float32 half to even, and limit to ±32767."""
    rounded: Integers = np.clip(np.rint(a), -LIMIT, LIMIT).astype(np.int32)
    return rounded
