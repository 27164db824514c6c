"""Ranges of what goes into integer layers, found by calibration or learned in training.

They travel as plain JSON values: in a cache beside the model, or in the metadata of a float32
file that was trained with quantization in the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import ModelError
from edgernn.integer.parameters import InputScale

_ROUNDING = 1e-6  # a channel that varies less than this, relative to its values, is constant
Doubles = NDArray[np.float64]


def is_constant(low: Doubles, high: Doubles) -> NDArray[np.bool_]:
    """Tell for each channel ``[K]`` whether nothing but rounding lies between its limits."""
    constant: NDArray[np.bool_] = high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high))
    return constant


def with_reach(low: Doubles, high: Doubles) -> tuple[Doubles, Doubles]:
    """Widen the limits ``[K]`` of constant channels, so that they count if they move at run time.

    A constant channel gets its value as the middle, and the median of the other channels' reaches
    around it; if all are constant, the largest of the values, or 1.
    """
    constant = is_constant(low, high)
    if not constant.any():
        return low, high
    reach = (high - low)[~constant] / 2
    center = (low + high) / 2
    typical = np.median(reach) if reach.size else (np.abs(center).max(initial=0.0) or 1.0)
    return np.where(constant, center - typical, low), np.where(constant, center + typical, high)


@dataclass(frozen=True)
class LayerRange:
    """Hold what one layer was seen to take in and to hold.

    Attributes:
        low: Least input of each channel ``[K]``, or of all together ``[1]``.
        high: Largest input likewise.
        largest_cell: Largest magnitude of an LSTM's cell state, for each direction.
        largest_state: Largest state of a relu RNN, for each direction.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    largest_cell: tuple[float, ...] = ()
    largest_state: tuple[float, ...] = ()

    def input_scale(self, input_bits: int) -> InputScale:
        """Return how the layer's inputs become integers of 8 or 16 bits."""
        return InputScale.of_range(
            np.array(self.low, np.float32), np.array(self.high, np.float32), input_bits
        )


@dataclass(frozen=True)
class Ranges:
    """Hold the ranges of a model's layers.

    Attributes:
        layers: By the layer's name: its node's name in the float32 file.
        method: ``"minmax"``, ``"percentile"``, ``"mse"`` or ``"training"``.
        sequences: How many were run.
        steps: Time steps in all of them.
        saturation: Share of values beyond the limits, by layer and quantity (``"input"``,
            ``"pre_activation"``, ``"cell"``).
        precisions: What each layer was trained for, by its name; empty but for ``"training"``.
    """

    layers: Mapping[str, LayerRange]
    method: str
    sequences: int
    steps: int
    saturation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    precisions: Mapping[str, str] = field(default_factory=dict)

    def of(self, layer: str) -> LayerRange:
        """Return one layer's ranges.

        Raises:
            ModelError: There are none.
        """
        if layer not in self.layers:
            raise ModelError(
                f"there are no ranges for layer {layer!r}, only for "
                f"{', '.join(self.layers) or 'none'}; calibrate on this very file"
            )
        return self.layers[layer]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @staticmethod
    def from_json(value: Any, where: str) -> Ranges:
        """Read what `to_json` returned.

        Args:
            value: Plain values.
            where: File name for messages.

        Raises:
            ModelError: It is something else.
        """
        try:
            layers = {
                name: LayerRange(**{key: tuple(map(float, item)) for key, item in entry.items()})
                for name, entry in value["layers"].items()
            }
            ranges = Ranges(**{**value, "layers": layers})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{where} holds no ranges of layers ({type(error).__name__}: {error}); "
                f"calibrate again"
            ) from None
        return ranges
