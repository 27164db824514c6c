"""The numbers of `edgernn.integer` as tensors, made from float weights when these have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.integer import (
    InputScale,
    LinearParameters,
    Precision,
    RecurrentParameters,
    linear_parameters,
    recurrent_parameters,
)
from edgernn.integer.activations import PRE_ACTIVATION_BITS

_EXACT_IN_FLOAT32 = 2**24
T = TypeVar("T")


@dataclass(frozen=True)
class Product:
    """Hold an integer product ``float(q @ values) * multiplier + bias``, as tensors.

    Attributes:
        center: Of the inputs, ``[K]`` or ``[1]``.
        inverse: Likewise.
        values: Integers ``[K, N]``, in float32 where every sum is exact in it, else float64.
        multiplier: ``[N]`` float32.
        bias: ``[N]`` float32.
        input_bits: 8 or 16.
        gain: Units of the result in 1.
    """

    center: Tensor
    inverse: Tensor
    values: Tensor
    multiplier: Tensor
    bias: Tensor
    input_bits: int
    gain: float = 1.0

    def dequantized(self) -> Tensor:
        """Return the float weights ``[K, N]`` that the integers stand for."""
        return self.values.float() * (self.multiplier / self.gain) * self.inverse[:, None]


@dataclass(frozen=True)
class Recurrence:
    """Hold one direction of an integer recurrent layer with G gates, as tensors.

    Attributes:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        input: Product with W; its results are in units of a pre-activation.
        values: Integers of R ``[H, G*H]``, as in `Product`.
        multiplier: ``[G*H]`` float32.
        bias: ``[H]`` float32 of the GRU's candidate; None for other cells.
        cell_bits: Fractional bits of the LSTM's cell state.
        relu: True for an RNN with relu.
        unit: Value of one unit of h.
    """

    cell: str
    input: Product
    values: Tensor
    multiplier: Tensor
    bias: Tensor | None
    cell_bits: int
    relu: bool
    unit: float

    @property
    def narrowed(self) -> float:
        """Value of one unit of what R multiplies."""
        return self.unit * 2.0 ** (16 - self.input.input_bits)

    def dequantized(self) -> Tensor:
        """Return the float weights ``[H, G*H]`` that the integers of R stand for."""
        return self.values.float() * (self.multiplier / (self.narrowed * self.input.gain))


class Kept:
    """Keep what was made from some tensors for as long as their values stay the same.

    Values are compared, not version counters: an optimizer may write past those.
    """

    def __init__(self) -> None:
        self._entries: dict[Any, tuple[list[Tensor], Any]] = {}

    def get(self, key: Any, tensors: Sequence[Tensor], make: Callable[[], T]) -> T:
        """Return what ``make`` returned for the same key and equal tensors."""
        seen, value = self._entries.get(key, ([], None))
        if len(seen) != len(tensors) or not all(map(_same, seen, tensors)):
            # Tensors of inference mode could not be used in training, which may follow.
            with torch.inference_mode(False), torch.no_grad():
                value = make()
                self._entries[key] = ([t.detach().clone() for t in tensors], value)
        result: T = value
        return result


def make_product(
    weight: Tensor, bias: Tensor | None, x: InputScale, precision: Precision, name: str
) -> Product:
    """Quantize a linear layer with PyTorch's weight ``[N, K]``."""
    made = linear_parameters(
        _array(weight).T, None if bias is None else _array(bias), x, precision, name
    )
    return _product(made, weight.device, 1.0)


def make_recurrence(
    cell: str,
    w: Tensor,
    r: Tensor,
    b: Tensor,
    x: InputScale,
    precision: Precision,
    *,
    largest: float,
    relu: bool,
    name: str,
) -> Recurrence:
    """Quantize one direction of a recurrent layer.

    Args:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        w: ONNX's ``[G*H, I]``.
        r: ``[G*H, H]``.
        b: ``[2*G*H]``.
        x: How its inputs become integers.
        precision: Widths.
        largest: Largest cell state of an LSTM, largest state of a relu RNN.
        relu: True for an RNN with relu.
        name: Of the layer, for messages.
    """
    made = recurrent_parameters(
        cell,
        _array(w),
        _array(r),
        _array(b),
        x,
        precision,
        largest_cell=largest,
        largest_state=largest,
        relu=relu,
        name=name,
    )
    return recurrence_of(made, w.device)


def recurrence_of(made: RecurrentParameters, device: torch.device) -> Recurrence:
    """Bring the parameters of one direction to a device."""
    step = made.state_unit if made.relu else 2.0**-PRE_ACTIVATION_BITS
    bias = made.recurrent_bias
    return Recurrence(
        cell=made.cell,
        input=_product(made.input, device, 1 / step),
        values=_integers(made.recurrent, made.precision, device),
        multiplier=torch.from_numpy(made.recurrent_multiplier).to(device),
        bias=None if bias is None else torch.from_numpy(bias).to(device),
        cell_bits=made.cell_bits,
        relu=made.relu,
        unit=made.state_unit,
    )


def _product(made: LinearParameters, device: torch.device, gain: float) -> Product:
    return Product(
        center=torch.from_numpy(made.x.center).to(device),
        inverse=torch.from_numpy(made.x.inverse).to(device),
        values=_integers(made.values, made.precision, device),
        multiplier=torch.from_numpy(made.multiplier).to(device),
        bias=torch.from_numpy(made.bias).to(device),
        input_bits=made.precision.input_bits,
        gain=gain,
    )


def _integers(values: NDArray[np.int8], precision: Precision, device: torch.device) -> Tensor:
    largest = values.shape[0] << (precision.input_bits - 1 + precision.weight_bits - 1)
    exact = torch.float32 if largest < _EXACT_IN_FLOAT32 else torch.float64
    return torch.from_numpy(values).to(device=device, dtype=exact)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and torch.equal(a, b)
