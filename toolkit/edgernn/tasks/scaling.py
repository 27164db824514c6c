"""Bring variables of different units to one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import ModelError

Floats = NDArray[np.float64]
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Scale:
    """Subtract the mean of each variable and divide by its standard deviation.

    Attributes:
        names: Of the variables.
        mean: In the variables' units.
        deviation: Likewise, above zero.
    """

    names: tuple[str, ...]
    mean: Floats
    deviation: Floats

    @staticmethod
    def of(names: Sequence[str], values: NDArray[Any]) -> Scale:
        """Measure the variables ``[N, F]``; six digits of each number are kept."""
        mean, deviation = values.mean(axis=0), np.maximum(values.std(axis=0), _LEAST_DEVIATION)
        return Scale(tuple(names), _rounded(mean), _rounded(deviation))

    @staticmethod
    def read(preprocessing: Mapping[str, Any], count: int) -> Scale:
        """Read what `to_json` returned from a model's preprocessing.

        Raises:
            ModelError: It is not of ``count`` variables.
        """
        try:
            scale = Scale(
                tuple(str(name) for name in preprocessing["names"]),
                np.array(preprocessing["mean"], np.float64),
                np.array(preprocessing["deviation"], np.float64),
            )
            sizes = {len(scale.names), len(scale.mean), len(scale.deviation)}
            if sizes == {count} and np.isfinite(scale.mean).all() and (scale.deviation > 0).all():
                return scale
        except (KeyError, TypeError, ValueError):
            pass
        raise ModelError(
            f"the model's preprocessing has no names, mean and deviation of {count} variables, so "
            f"it was made for another task; train and export it again"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
        }

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return ``[..., F]`` in deviations from the means."""
        scaled: NDArray[np.float32] = ((values - self.mean) / self.deviation).astype(np.float32)
        return scaled

    def undo(self, scaled: NDArray[Any]) -> Floats:
        """Return what `apply` was given."""
        values: Floats = scaled * self.deviation + self.mean
        return values


def _rounded(values: Floats) -> Floats:
    return np.array([float(f"{value:.6g}") for value in values])
