"""Symmetric 8-bit weights, one scale for each output row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import ModelError

ZERO_POINT = 128
LIMIT = 127


@dataclass(frozen=True)
class QuantizedWeight:
    """Hold a weight matrix as ``scale * (values - 128)``.

    The values are unsigned with zero point 128, because ONNX Runtime's product of unsigned with
    signed bytes saturates on processors without VNNI (docs/decisions/0003).

    Attributes:
        values: ``[K, N]`` uint8 in 1…255, laid out for ``x [M, K] @ values``.
        scale: One per output, ``[N]`` float32.
    """

    values: NDArray[np.uint8]
    scale: NDArray[np.float32]

    def dequantized(self) -> NDArray[np.float32]:
        """Return the float weights ``[K, N]`` that the integers stand for."""
        return (self.values.astype(np.float32) - ZERO_POINT) * self.scale


def quantize_weight(weight: NDArray[np.float32], name: str) -> QuantizedWeight:
    """Quantize ``weight [K, N]`` column by column, that is with one scale for each output.

    Args:
        weight: Finite float weights; a column of zeros gets the scale 1.
        name: Name for the message.

    Raises:
        ModelError: A weight is NaN or infinite.
    """
    if not np.isfinite(weight).all():
        raise ModelError(
            f"weight {name!r} holds NaN or infinite values; the training diverged, so export an "
            f"earlier checkpoint"
        )
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest / LIMIT, 1.0).astype(np.float32)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)  # weights among the denormals round to 0
    steps = np.clip(np.rint(weight / scale), -LIMIT, LIMIT)
    return QuantizedWeight((steps + ZERO_POINT).astype(np.uint8), scale)
