"""Symmetric integer weights, one scale for each output row."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import ModelError

MOST_16_BIT = 65535
"""Largest sum of magnitudes of a row that 16-bit inputs are multiplied with: int32 holds it."""
_BLOCK = 1 << 18
"""Weights that are worked on at a time, so that memory does not grow with the layer."""
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


def column_blocks(rows: int, columns: int) -> list[slice]:
    """Cut the columns of a matrix into blocks of at least two, where it is large."""
    count = max(1, min(columns // 2, rows * columns // _BLOCK))
    edges = [columns * block // count for block in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def quantize_rows(
    weight: NDArray[np.float32],
    name: str,
    *,
    bits: int = 8,
    most: int | None = None,
    inverse: NDArray[np.float32] | None = None,
) -> IntegerWeight:
    """Quantize ``weight [K, N]`` column by column, that is with one scale for each output.

    With 8 bits the largest weight of a column becomes 127. With 4 bits the scale is the one of 17
    between 1 and 0.6 times largest / 7 that has the least squared error.

    Args:
        weight: Finite float weights; a column of zeros gets the scale 1.
        name: Name for the message.
        bits: 8 or 4.
        most: Limit of each column's sum of magnitudes; where it is passed, the scale grows.
        inverse: ``[K]`` or ``[1]``, what the weights are divided by first; None for 1.

    Raises:
        ModelError: A weight is NaN or infinite, or ``most`` is less than K, so that most weights
            would become 0.
    """
    if most is not None and len(weight) > most:
        raise ModelError(
            f"weight {name!r} has {len(weight):,} inputs, and 16-bit inputs allow {most:,}; keep "
            f"the layer float or choose int8"
        )
    blocks = []
    for columns in column_blocks(*weight.shape):
        block = np.ascontiguousarray(weight[:, columns])
        if inverse is not None:
            block = (block / inverse[:, None]).astype(np.float32)
        blocks.append(_quantize_block(block, name, bits, most))
    return IntegerWeight(
        np.concatenate([block.values for block in blocks], axis=1),
        np.concatenate([block.scale for block in blocks]),
    )


def require_finite(weight: NDArray[np.float32], name: str) -> None:
    """Check a weight of a trained model.

    Raises:
        ModelError: A value is NaN or infinite.
    """
    if not np.isfinite(weight).all():
        raise ModelError(
            f"weight {name!r} holds NaN or infinite values; the training diverged, so export an "
            f"earlier checkpoint"
        )


def _quantize_block(
    weight: NDArray[np.float32], name: str, bits: int, most: int | None
) -> IntegerWeight:
    require_finite(weight, name)
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
