"""The gates as generated C computes them, to the bit (docs/numerics.md).

Single multiplications, additions and divisions of float32 in a fixed order: IEEE arithmetic makes
the result the same on every processor. The C form is ``edgernn_activations.h`` and
``edgernn_cells.h``.
"""

from __future__ import annotations

import numpy as np

from edgernn.reference import Floats, Gates

SIGMOID_LIMIT = np.float32(87)
TANH_LIMIT = np.float32(12)
ROUNDER = np.float32(12582912)
"""1.5 * 2^23: added to a float, it leaves the nearest integer in the low bits."""

C1, C2, C3, C4, C5 = (
    np.float32(value)
    for value in (0.693147123, 0.240223512, 0.0555050001, 0.00966624357, 0.00133335614)
)
"""``2^f - 1 = f * (C1 + C2 f + C3 f^2 + C4 f^3 + C5 f^4)`` for ``|f| <= 1/2``."""

_ONE, _TWO = np.float32(1), np.float32(2)


def exp_plus_1(x: Floats) -> Floats:
    """Return ``1 + exp(-x)``, one over the sigmoid."""
    p, _, n = _power(np.clip(x, -SIGMOID_LIMIT, SIGMOID_LIMIT) * np.float32(-1.44269504))
    value: Floats = _scaled(p, n) + _ONE
    return value


def exp_minus_1(x: Floats) -> Floats:
    """Return ``e = exp(2 x) - 1``, of which the tanh is ``e / (e + 2)``."""
    _, small, n = _power(np.clip(x, -TANH_LIMIT, TANH_LIMIT) * np.float32(2.88539008))
    power = _scaled(np.ones_like(x), n)
    value: Floats = power * small + (power - _ONE)
    return value


def tanh(x: Floats) -> Floats:
    """Return tanh as C computes it."""
    e = exp_minus_1(x)
    value: Floats = e / (e + _TWO)
    return value


def _product(x: Floats, e: Floats) -> Floats:
    """Return ``sigmoid(x) * tanh`` of the value whose `exp_minus_1` is ``e``."""
    with np.errstate(over="ignore"):  # a divisor of infinity gives the 0 that is meant
        divisor: Floats = exp_plus_1(x) * (e + _TWO)
        value: Floats = e / divisor
    return value


def _lstm(i: Floats, o: Floats, f: Floats, g: Floats, c: Floats) -> tuple[Floats, Floats]:
    c = c / exp_plus_1(f) + _product(i, exp_minus_1(g))
    return _product(o, exp_minus_1(c)), c


def _reset(r: Floats, s: Floats) -> Floats:
    value: Floats = s / exp_plus_1(r)
    return value


def _update(z: Floats, a: Floats, h: Floats) -> Floats:
    n = tanh(a)
    value: Floats = n + (h - n) / exp_plus_1(z)
    return value


GENERATED = Gates(_lstm, _reset, _update, tanh)
"""The gates of generated C, on every target."""


def _power(t: Floats) -> tuple[Floats, Floats, Floats]:
    """Split ``2^t``: return ``2^f``, ``2^f - 1`` and n (plus `ROUNDER`) with ``t = n + f``."""
    n = t + ROUNDER
    f = t - (n - ROUNDER)
    p = (((C5 * f + C4) * f + C3) * f + C2) * f + C1
    return p * f + _ONE, p * f, n


def _scaled(p: Floats, n: Floats) -> Floats:
    """Return ``p * 2^n`` by adding n to the exponent's bits."""
    bits = p.view(np.uint32) + (n.view(np.uint32) << np.uint32(23))
    value: Floats = bits.view(np.float32)
    return value
