"""Straight-through gradients of integer layers, each layer one step of autograd.

Forward, a layer computes with integers (`edgernn.training.quantized.cells`). Backward, it is taken
for the float layer with the same weights, inputs and gates as the integers stand for: the formulas
of LSTM, GRU and RNN at the values that were computed. Rounding has the gradient 1 (Bengio et al.,
arXiv:1308.3432). An input or a state beyond its limits has the gradient 0; a weight always has 1,
so that it is free to leave its limit.

Back-propagation through time is written out by hand, because autograd would go through some
twenty operations for each time step. All factors that do not depend on the gradient are computed
for the whole sequence at once, which leaves a product with R and few more operations in the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from edgernn.integer.activations import LIMIT
from edgernn.training.quantized import cells
from edgernn.training.quantized.constants import Product, Recurrence

_UNIT = 2.0**-15


class _Product(Function):
    """``x [..., K], weight [N, K], bias [N], product -> y [..., N]``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, product: Product
    ) -> Tensor:
        """Compute with the integers; ``weight`` and ``bias`` are there for their gradients."""
        steps = cells.steps_of(x, product)
        low, high = cells.limits_of(product)
        q = steps.clamp(low, high)
        ctx.save_for_backward(q, q == steps)
        ctx.product = product
        return cells.multiply(q, product)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        q, inside = ctx.saved_tensors
        product: Product = ctx.product
        gradient = gradient * product.gain
        rows = gradient.reshape(-1, gradient.shape[-1])
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ product.dequantized().T) * inside
        if ctx.needs_input_grad[1]:
            x = q / product.inverse + product.center
            of_weight = rows.T @ x.reshape(-1, x.shape[-1])
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(dim=0)
        return of_x, of_weight, of_bias, None


class _LSTM(Function):
    """``before [T, B, 4H], r [4H, H], h, c [B, H], layer -> y, cs [T, B, H]``."""

    @staticmethod
    def forward(
        ctx: Any, before: Tensor, r: Tensor, h: Tensor, c: Tensor, layer: Recurrence
    ) -> tuple[Tensor, Tensor]:
        """Run the layer; ``r`` is there for its gradient."""
        gates: cells.Gates | None = [] if any(ctx.needs_input_grad) else None
        unit = 2.0**-layer.cell_bits
        hs, cs = cells.lstm(
            before, layer, cells.to_state(h, layer.unit), cells.to_state(c, unit), gates
        )
        if gates is not None:
            ctx.save_for_backward(hs, cs, *map(torch.stack, zip(*gates, strict=True)))
        ctx.layer = layer
        ctx.set_materialize_grads(False)
        return cells.from_state(hs[1:], layer.unit), cells.from_state(cs[1:], unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor | None, of_cs: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of before, r, h and c."""
        hs, cs, i_o_f, g, t = ctx.saved_tensors
        layer: Recurrence = ctx.layer
        i, o, f = (i_o_f * _UNIT).chunk(3, dim=2)
        g, t = g * _UNIT, t * _UNIT
        inside = (cs[1:].abs() < LIMIT).float()
        from_c = torch.stack(  # of the pre-activations i, o (which has none), f, g
            [
                g * i * (1 - i) * inside,
                torch.zeros_like(i),
                cells.from_state(cs[:-1], 2.0**-layer.cell_bits) * f * (1 - f) * inside,
                i * (1 - g * g) * inside,
            ],
            dim=2,
        )
        from_h, into_c, kept = t * o * (1 - o), o * (1 - t * t), f * inside
        weights = layer.dequantized().T
        of_a = torch.empty_like(from_c)  # [T, B, 4, H]
        dh, dc = torch.zeros_like(i[0]), torch.zeros_like(i[0])
        for step in range(len(i) - 1, -1, -1):
            if of_y is not None:
                dh = dh + of_y[step]
            dc = torch.addcmul(dc, dh, into_c[step])
            if of_cs is not None:
                dc += of_cs[step]
            torch.mul(from_c[step], dc[:, None], out=of_a[step])
            torch.mul(dh, from_h[step], out=of_a[step, :, 1])
            dc = dc * kept[step]
            dh = of_a[step].flatten(1) @ weights
        of_a = of_a.flatten(2)
        return of_a / layer.input.gain, _of_r(of_a, hs, layer), dh, dc, None


class _GRU(Function):
    """``before [T, B, 3H], r [3H, H], bias [H], h [B, H], layer -> y [T, B, H]``."""

    @staticmethod
    def forward(
        ctx: Any, before: Tensor, r: Tensor, bias: Tensor, h: Tensor, layer: Recurrence
    ) -> Tensor:
        """Run the layer; ``r`` and ``bias`` (of the candidate) are there for their gradients."""
        gates: cells.Gates | None = [] if any(ctx.needs_input_grad) else None
        hs = cells.gru(before, layer, cells.to_state(h, layer.unit), gates)
        if gates is not None:
            ctx.save_for_backward(hs, *map(torch.stack, zip(*gates, strict=True)))
        ctx.layer = layer
        return cells.from_state(hs[1:], layer.unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of before, r, bias and h."""
        hs, z_r, n, s = ctx.saved_tensors
        layer: Recurrence = ctx.layer
        z, r = (z_r * _UNIT).chunk(2, dim=2)
        n, s = n * _UNIT, s / layer.input.gain
        h = cells.from_state(hs[:-1], layer.unit)
        into_n = (1 - z) * (1 - n * n)
        from_h = torch.stack(  # of z, r and the recurrent part of the candidate
            [(h - n) * z * (1 - z), into_n * s * r * (1 - r), into_n * r], dim=2
        )
        weights = layer.dequantized().T
        of_a = torch.empty_like(from_h)  # [T, B, 3, H]
        of_h = torch.empty_like(h)
        dh = torch.zeros_like(h[0])
        for step in range(len(h) - 1, -1, -1):
            dh = torch.add(dh, of_y[step], out=of_h[step])
            torch.mul(from_h[step], dh[:, None], out=of_a[step])
            dh = torch.addmm(dh * z[step], of_a[step].flatten(1), weights)
        of_before = of_a.clone()
        of_before[:, :, 2] = of_h * into_n
        return (
            of_before.flatten(2) / layer.input.gain,
            _of_r(of_a.flatten(2), hs, layer),
            of_a[:, :, 2].sum(dim=(0, 1)),
            dh,
            None,
        )


class _RNN(Function):
    """``before [T, B, H], r [H, H], h [B, H], layer -> y [T, B, H]``."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, r: Tensor, h: Tensor, layer: Recurrence) -> Tensor:
        """Run the layer; ``r`` is there for its gradient."""
        hs = cells.rnn(before, layer, cells.to_state(h, layer.unit))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(hs)
        ctx.layer = layer
        return cells.from_state(hs[1:], layer.unit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of before, r and h."""
        (hs,) = ctx.saved_tensors
        layer: Recurrence = ctx.layer
        h = cells.from_state(hs[1:], layer.unit)
        slope = ((hs[1:] > 0) & (hs[1:] < LIMIT)).float() if layer.relu else 1 - h * h
        weights = layer.dequantized().T
        of_a = torch.empty_like(slope)
        dh = torch.zeros_like(h[0])
        for step in range(len(h) - 1, -1, -1):
            torch.mul(slope[step], dh + of_y[step], out=of_a[step])
            dh = of_a[step] @ weights
        return of_a / layer.input.gain, _of_r(of_a, hs, layer), dh, None


run_product: Callable[..., Tensor] = _Product.apply
run_lstm: Callable[..., tuple[Tensor, Tensor]] = _LSTM.apply
run_gru: Callable[..., Tensor] = _GRU.apply
run_rnn: Callable[..., Tensor] = _RNN.apply
"""Arguments and results are in the first line of each class."""


def _of_r(of_a: Tensor, hs: Tensor, layer: Recurrence) -> Tensor:
    """Return the gradient of R ``[G*H, H]`` from that of the pre-activations ``[T, B, G*H]``."""
    multiplied = cells.narrow(hs[:-1], layer) * layer.narrowed
    return of_a.flatten(0, 1).T @ multiplied.flatten(0, 1)
