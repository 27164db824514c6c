"""Symmetric integer weights, one scale for each output row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import ModelError

MOST_16_BIT = 65535
"""Largest sum of magnitudes of a row that 16-bit inputs are multiplied with: int32 holds it."""
_CLIPPING = np.linspace(1.0, 0.6, 17, dtype=np.float32)


@dataclass(frozen=True)
class IntegerWeight:
    """Hold a weight matrix as ``values * scale``.

    Attributes:
        values: ``[K, N]`` int8 within ±127 (8 bits) or ±7 (4 bits), laid out for
            ``x [M, K] @ values``.
        scale: One per output, ``[N]`` float32.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]

    def dequantized(self) -> NDArray[np.float32]:
        """Return the float weights ``[K, N]`` that the integers stand for."""
        return self.values.astype(np.float32) * self.scale


def quantize_rows(
    weight: NDArray[np.float32], name: str, *, bits: int = 8, most: int | None = None
) -> IntegerWeight:
    """Quantize ``weight [K, N]`` column by column, that is with one scale for each output.

    With 8 bits the largest weight of a column becomes 127. With 4 bits the scale is the one of 17
    between 1 and 0.6 times largest / 7 that has the least squared error.

    Args:
        weight: Finite float weights; a column of zeros gets the scale 1.
        name: Name for the message.
        bits: 8 or 4.
        most: Limit of each column's sum of magnitudes; where it is passed, the scale grows.

    Raises:
        ModelError: A weight is NaN or infinite.
    """
    if not np.isfinite(weight).all():
        raise ModelError(
            f"weight {name!r} holds NaN or infinite values; the training diverged, so export an "
            f"earlier checkpoint"
        )
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest / limit, 1.0).astype(np.float32)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)  # weights among the denormals round to 0
    if bits == 4:
        scale = _least_error(weight, scale, limit)
    values = _steps(weight, scale, limit)
    if most is not None:
        while (sums := np.abs(values).sum(axis=0, dtype=np.float64)).max() > most:
            scale = np.where(sums > most, scale * (sums / most * 1.001), scale).astype(np.float32)
            values = _steps(weight, scale, limit)
    return IntegerWeight(values.astype(np.int8), scale)


def _least_error(
    weight: NDArray[np.float32], scale: NDArray[np.float32], limit: int
) -> NDArray[np.float32]:
    best, least = scale, np.full(scale.shape, np.inf)
    for factor in _CLIPPING:
        tried = np.maximum(scale * factor, np.finfo(np.float32).tiny)
        error = np.square(_steps(weight, tried, limit) * tried - weight).sum(axis=0)
        best = np.where(error < least, tried, best)
        least = np.minimum(error, least)
    return best


def _steps(
    weight: NDArray[np.float32], scale: NDArray[np.float32], limit: int
) -> NDArray[np.float32]:
    steps: NDArray[np.float32] = np.clip(np.rint(weight / scale), -limit, limit)
    return steps
