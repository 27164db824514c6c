"""Sigmoid and tanh of integers as tables, one entry for each of the 65536 arguments."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from edgernn.integer import activations

_ARGUMENTS = np.concatenate([np.arange(32768), np.arange(-32768, 0)]).astype(np.int32)
# -32768 never occurs; the last argument that does takes its place.
_ARGUMENTS = np.maximum(_ARGUMENTS, -activations.LIMIT)


def sigmoid_table(device: torch.device) -> Tensor:
    """Return sigmoid in Q0.15 of every pre-activation; `torch.take` finds p at the index p.

    A negative index counts from the end, as in Python.
    """
    return _on(device, "sigmoid", 0)


def tanh_table(device: torch.device) -> Tensor:
    """Return tanh in Q0.15 of every pre-activation, likewise."""
    return _on(device, "tanh", 0)


def cell_table(device: torch.device, bits: int) -> Tensor:
    """Return tanh in Q0.15 of every LSTM cell state with ``bits`` fractional bits, likewise."""
    return _on(device, "cell", bits)


@functools.cache
def _on(device: torch.device, name: str, bits: int) -> Tensor:
    if name == "cell":
        values = activations.tanh_of_cell(_ARGUMENTS, bits)
    else:
        values = {"sigmoid": activations.sigmoid, "tanh": activations.tanh}[name](_ARGUMENTS)
    with torch.inference_mode(False):  # else training could not use a table made in validation
        return torch.tensor(values, dtype=torch.int32, device=device)
