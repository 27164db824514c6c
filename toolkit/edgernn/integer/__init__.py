"""Integer arithmetic of the precisions ``int8``, ``w8a16`` and ``int4`` (docs/numerics.md)."""

from edgernn.integer.parameters import (
    INTEGER,
    InputScale,
    LinearParameters,
    Precision,
    RecurrentParameters,
    linear_parameters,
    recurrent_parameters,
)
from edgernn.integer.ranges import LayerRange, Ranges

__all__ = [
    "INTEGER",
    "InputScale",
    "LayerRange",
    "LinearParameters",
    "Precision",
    "Ranges",
    "RecurrentParameters",
    "linear_parameters",
    "recurrent_parameters",
]
