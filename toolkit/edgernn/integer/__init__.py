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

__all__ = [
    "INTEGER",
    "InputScale",
    "LinearParameters",
    "Precision",
    "RecurrentParameters",
    "linear_parameters",
    "recurrent_parameters",
]
