"""Straight-through gradients against autograd of the float layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.quant_layers import KINDS, float_layer
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgernn.integer import LayerRange
from edgernn.training import QuantGRU, QuantLinear, QuantLSTM, observing, to_quantized


def on_the_grid(layer: nn.Module) -> None:
    """Round weights to what 8 bits hold exactly: a scale for each row, and a largest of 127."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                parameter[:, 0] = 0.75 * parameter[:, 0].sign()
                scale = 0.75 / 127
                parameter.copy_((parameter.clamp(-0.75, 0.75) / scale).round() * scale)


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 2), st.booleans(), st.booleans(),
       st.integers(2, 12), st.integers(0, 99))  # fmt: skip
def test_gradients_are_those_of_the_float_layer(
    kind: str, inputs: int, hidden: int, layers: int, both: bool, bias: bool, steps: int, seed: int
) -> None:
    torch.manual_seed(seed)
    layers = 1 if kind == "rnn-relu" else layers
    layer = float_layer(kind, inputs, hidden, layers=layers, both=both, bias=bias, gain=1.0)
    on_the_grid(layer)
    # One range for all channels, so that the grid of W stays one; 16 bits, so that rounding of
    # inputs and states hardly shows.
    quantized = to_quantized(layer, "w8a16")
    top = 40.0 if kind == "rnn-relu" else 1.0
    for index, observer in enumerate(quantized.observers):
        wide = top if index else 4.0
        observer.set(LayerRange((-wide,), (wide,), (7.0,) * (1 + both) if kind != "gru" else ()),
                     "layer")  # fmt: skip
    x = torch.randn(steps, 3, inputs).clamp(-3.9, 3.9)
    rows = layers * (1 + both)
    h, c = torch.randn(2, rows, 3, hidden).mul(0.3).clamp(-0.9, 0.9)
    if kind == "rnn-relu":
        h = h.abs()
    count = 2 if kind == "lstm" else 1
    weights = [torch.randn(steps, 3, hidden * (1 + both)), *torch.randn(2, rows, 3, hidden)]
    found: list[list[Tensor]] = []
    active: list[Tensor] = []
    for module in (layer, quantized):
        given_x, *states = (t.clone().requires_grad_() for t in (x, h, c)[: 1 + count])
        y, last = module(given_x, tuple(states) if count == 2 else states[0])
        active.append(y > 0)
        outputs = [y, *(last if count == 2 else (last,))]
        loss = sum((w * o).sum() for w, o in zip(weights, outputs, strict=False))
        parameters = [module.get_parameter(n) for n, _ in layer.named_parameters()]
        found.append(list(torch.autograd.grad(loss, [given_x, *states, *parameters])))
    # At the corner of relu, rounding decides which of two gradients there is.
    assume(kind != "rnn-relu" or torch.equal(*active))
    for want, have in zip(*found, strict=True):
        largest = float(want.abs().max())
        assert float((have - want).abs().max()) <= 0.01 * largest + 1e-3


@pytest.mark.parametrize("precision", ["int8", "w8a16", "int4"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_first_of_many_steps(kind: str, precision: str) -> None:
    torch.manual_seed(0)
    quantized = to_quantized(float_layer(kind, 3, 8), precision)
    x = torch.randn(40, 2, 3, requires_grad=True)
    with observing(quantized):
        quantized(x)
    quantized(x)[0][-1].square().sum().backward()
    assert x.grad is not None
    assert float(x.grad[20].abs().max()) > 0
    assert all(float(p.grad.abs().max()) > 0 for p in quantized.parameters() if p.grad is not None)


def test_inputs_beyond_the_range_have_no_gradient() -> None:
    layer = QuantLinear(nn.Linear(2, 3), "int8", LayerRange((-1.0,), (1.0,)))
    x = torch.tensor([[0.5, 2.0], [-3.0, -0.25]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).tolist() == [[True, False], [False, True]]


def test_a_saturated_cell_has_no_gradient() -> None:
    torch.manual_seed(0)
    lstm = QuantLSTM(nn.LSTM(2, 3), "int8", [LayerRange((-1.0,), (1.0,), (3.9,))])
    with torch.no_grad():  # every gate wide open, so that c grows by almost 1 at each step
        lstm.bias_ih_l0.fill_(20.0)
    x = torch.rand(9, 1, 2, requires_grad=True)
    _, (_, c) = lstm(x)
    assert c.detach().min() == 32767 / 8192
    c.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_linear_gradients_are_those_of_the_float_layer() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    on_the_grid(layer)
    quantized = QuantLinear(layer, "w8a16", LayerRange((-3.0,), (5.0,)))
    for leading in ((), (7,), (2, 7)):
        x = torch.rand(*leading, 5, requires_grad=True)
        weights = torch.randn(*leading, 4)
        want, have = (
            torch.autograd.grad((weights * m(x)).sum(), [x, layer.weight, layer.bias])
            for m in (layer, quantized)
        )
        for a, b in zip(want, have, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [nn.GRU, nn.LSTM])
def test_a_module_learns_at_four_bits(make: Any) -> None:
    """Remember the first input for 6 steps, through the state alone."""

    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = make(1, 12, batch_first=True)
            self.head = nn.Linear(12, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    torch.manual_seed(0)
    model = to_quantized(Memory(), "int4")
    assert isinstance(model.rnn, QuantGRU | QuantLSTM)
    with observing(model):
        model(torch.rand(64, 6, 1) * 2 - 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(200):
        x = torch.rand(32, 6, 1) * 2 - 1
        loss = (model(x)[:, 0] - x[:, 0, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.4 * sum(losses[:10])
