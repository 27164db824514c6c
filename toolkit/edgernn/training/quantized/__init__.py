"""Recurrent and linear layers that train as the integers they will run as (docs/numerics.md)."""

from edgernn.training.quantized.convert import (
    layer_names,
    observing,
    quantized_layers,
    ranges_of,
    to_float,
    to_quantized,
)
from edgernn.training.quantized.linear import QuantLinear
from edgernn.training.quantized.recurrent import QuantGRU, QuantLSTM, QuantRNN

__all__ = [
    "QuantGRU",
    "QuantLSTM",
    "QuantLinear",
    "QuantRNN",
    "layer_names",
    "observing",
    "quantized_layers",
    "ranges_of",
    "to_float",
    "to_quantized",
]
