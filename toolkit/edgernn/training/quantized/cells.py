"""Integer cells in PyTorch: `edgernn.integer.cells` over a whole sequence, value for value.

Pre-activations arrive as float32 ``[T, B, G*H]``, states and gates are int32 tensors. A float32 or
float64 product of integers is exact here (`edgernn.training.quantized.constants`), whatever order
it is summed in, and no operation below is fused with another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgernn.integer.activations import LIMIT
from edgernn.training.quantized.constants import Product, Recurrence
from edgernn.training.quantized.tables import cell_table, sigmoid_table, tanh_table

Gates = list[tuple[Tensor, ...]]


def steps_of(x: Tensor, product: Product) -> Tensor:
    """Return ``rint((x - center) * inverse)``, not yet limited."""
    return ((x - product.center) * product.inverse).round_()


def limits_of(product: Product) -> tuple[int, int]:
    """Return the least and the largest integer of an input."""
    return (-128, 127) if product.input_bits == 8 else (-LIMIT, LIMIT)


def multiply(q: Tensor, product: Product) -> Tensor:
    """Return ``float(q @ values) * multiplier + bias``."""
    return _scaled(q, product.values, product.multiplier) + product.bias


def to_state(value: Tensor, unit: float) -> Tensor:
    """Bring a state from floats to integers; floats that `from_state` made come back exactly."""
    return (value / unit).round_().clamp_(-LIMIT, LIMIT).to(torch.int32)


def from_state(state: Tensor, unit: float) -> Tensor:
    """Return the value of a state as float32, which is exact."""
    return state.float() * unit


def narrow(h: Tensor, layer: Recurrence) -> Tensor:
    """Return what R multiplies, as floats: the high byte of h, or all of it."""
    if layer.input.input_bits == 16:
        return h.float()
    return (h * (1 / 256)).round_().clamp_(max=127)


def lstm(
    before: Tensor, layer: Recurrence, h: Tensor, c: Tensor, gates: Gates | None
) -> tuple[Tensor, Tensor]:
    """Run an LSTM; return the states ``h, c [T+1, B, H]``, the initial ones first.

    Args:
        before: ``[T, B, 4H]``.
        layer: Its numbers.
        h: Initial state ``[B, H]``.
        c: Likewise.
        gates: Gets ``(i_o_f, g, tanh of c)`` of each step, if it is a list.
    """
    sigmoid, tanh = sigmoid_table(h.device), tanh_table(h.device)
    tanh_of_c = cell_table(h.device, layer.cell_bits)
    half, size = _half(h.device), h.shape[1]
    hs, cs = [h], [c]
    for row in before:
        p = _rounded(_recurrent(h, layer).add_(row)).long()
        i_o_f, g = torch.take(sigmoid, p[:, : 3 * size]), torch.take(tanh, p[:, 3 * size :])
        i, o, f = i_o_f.chunk(3, dim=1)
        moved = ((i * g) >> (15 - layer.cell_bits)).add_(half)
        c = (torch.addcmul(moved, f, c) >> 15).clamp_(-LIMIT, LIMIT)
        t = torch.take(tanh_of_c, c.long())
        h = torch.addcmul(half, o, t) >> 15
        hs.append(h)
        cs.append(c)
        if gates is not None:
            gates.append((i_o_f, g, t))
    return torch.stack(hs), torch.stack(cs)


def gru(before: Tensor, layer: Recurrence, h: Tensor, gates: Gates | None) -> Tensor:
    """Run a GRU; return the states ``[T+1, B, H]``, the initial one first.

    Args:
        before: ``[T, B, 3H]``.
        layer: Its numbers.
        h: Initial state ``[B, H]``.
        gates: Gets ``(z_r, n, s)`` of each step, if it is a list; s is the recurrent part of
            the candidate's pre-activation.
    """
    assert layer.bias is not None
    sigmoid, tanh = sigmoid_table(h.device), tanh_table(h.device)
    half, size = _half(h.device), h.shape[1]
    candidate = _rounded(before[..., 2 * size :].clone()).int()
    added = before.clone()
    added[..., 2 * size :] = layer.bias
    hs = [h]
    for row, own in zip(added, candidate, strict=True):
        p = _rounded(_recurrent(h, layer).add_(row))
        z_r, s = torch.take(sigmoid, p[:, : 2 * size].long()), p[:, 2 * size :].int()
        z, r = z_r.chunk(2, dim=1)
        a = (torch.addcmul(half, r, s) >> 15).add_(own).clamp_(-LIMIT, LIMIT)
        n = torch.take(tanh, a.long())
        # The specification's z h + (2^15 - z) n with the multiple of 2^15 taken out of the shift.
        h = (torch.addcmul(half, z, h - n) >> 15).add_(n)
        hs.append(h)
        if gates is not None:
            gates.append((z_r, n, s))
    return torch.stack(hs)


def rnn(before: Tensor, layer: Recurrence, h: Tensor) -> Tensor:
    """Run a plain RNN; return the states ``[T+1, B, H]``, the initial one first."""
    tanh = tanh_table(h.device)
    hs = [h]
    for row in before:
        p = _rounded(_recurrent(h, layer).add_(row))
        h = p.clamp_(min=0).int() if layer.relu else torch.take(tanh, p.long())
        hs.append(h)
    return torch.stack(hs)


def _recurrent(h: Tensor, layer: Recurrence) -> Tensor:
    return _scaled(narrow(h, layer), layer.values, layer.multiplier)


def _scaled(q: Tensor, values: Tensor, multiplier: Tensor) -> Tensor:
    return (q.to(values.dtype) @ values).float() * multiplier


def _rounded(a: Tensor) -> Tensor:
    return a.round_().clamp_(-LIMIT, LIMIT)


def _half(device: torch.device) -> Tensor:
    return torch.tensor(1 << 14, dtype=torch.int32, device=device)
