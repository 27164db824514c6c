from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgernn.errors import InputError, ModelError, UsageError
from edgernn.integer import INTEGER, LayerRange, cells, linear_parameters
from edgernn.training import QuantLinear, observing


@given(st.sampled_from(sorted(INTEGER)), st.integers(1, 40), st.integers(1, 9), st.booleans(),
       st.sampled_from([(), (3,), (2, 5)]), st.integers(0, 99))  # fmt: skip
def test_bits_are_those_of_the_definition(
    precision: str, inputs: int, outputs: int, bias: bool, leading: tuple[int, ...], seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(inputs, outputs, bias=bias)
    low, high = -torch.rand(inputs) * 3, torch.rand(inputs)
    found = LayerRange(tuple(low.tolist()), tuple(high.tolist()))
    quantized = QuantLinear(layer, precision, found)
    x = 2 * torch.randn(*leading, inputs)
    made = linear_parameters(
        np.ascontiguousarray(layer.weight.detach().numpy().T),
        layer.bias.detach().numpy() if bias else None,
        found.input_scale(INTEGER[precision].input_bits), INTEGER[precision],
    )  # fmt: skip
    want = cells.linear(x.reshape(-1, inputs).numpy(), made).reshape(*leading, outputs)
    np.testing.assert_array_equal(quantized(x).detach().numpy(), want)


def test_wide_layers_sum_exactly() -> None:
    torch.manual_seed(0)
    found = LayerRange((-1.0,), (1.0,))
    layer = nn.Linear(3000, 2)  # more than float32 could sum exactly
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[:, -1] = 0.01
    x = torch.ones(1, 3000)
    x[0, 0] = -1
    made = linear_parameters(
        layer.weight.detach().numpy().T, layer.bias.detach().numpy(),
        found.input_scale(8), INTEGER["int8"],
    )  # fmt: skip
    got = QuantLinear(layer, "int8", found)(x).detach().numpy()
    np.testing.assert_array_equal(got, cells.linear(x.numpy(), made))


def test_observes_each_channel() -> None:
    layer = QuantLinear(nn.Linear(2, 1))
    with pytest.raises(ModelError, match=r"QuantLinear has no ranges .*observing"):
        layer(torch.zeros(2))
    with observing(layer):
        layer(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        layer(torch.tensor([0.5, 0.0]))
    assert layer.ranges() == (LayerRange((0.5, -2.0), (3.0, 4.0)),)
    with observing(layer):
        layer(torch.zeros(1, 2))
        layer(torch.zeros(0, 2))  # tells nothing
    assert layer.ranges() == (LayerRange((-1.0, -1.0), (1.0, 1.0)),)  # no channel says how far
    with observing(layer):
        layer(torch.tensor([[2.5, -1.0], [2.5, 3.0]]))
    assert layer.ranges() == (LayerRange((0.5, -1.0), (4.5, 3.0)),)
    with pytest.raises(InputError, match="NaN or infinite"), observing(layer):
        layer(torch.tensor([1.0, torch.nan]))
    assert not layer.observing


def test_values_that_are_not_finite_are_refused() -> None:
    layer = QuantLinear(nn.Linear(2, 1), "int8", LayerRange((-1.0,), (1.0,)))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(InputError, match="QuantLinear: input holds NaN or infinite"):
            layer(torch.tensor([1.0, bad]))


def test_other_types_than_float32_are_refused() -> None:
    with pytest.raises(ModelError, match=r"QuantLinear: weight is bfloat16; .*float32"):
        QuantLinear(nn.Linear(2, 1).bfloat16())
    layer = QuantLinear(nn.Linear(2, 1), "int8", LayerRange((-1.0,), (1.0,)))
    want = layer(torch.ones(2))
    assert torch.equal(layer(torch.ones(2, dtype=torch.bfloat16)), want)  # inputs may be
    with pytest.raises(ModelError, match="weight is bfloat16"):
        layer.bfloat16()(torch.ones(2))


def test_wrong_layers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"made from an nn.Linear, not from a GRU"):
        QuantLinear(nn.GRU(2, 1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="precision 'int3'"):
        QuantLinear(nn.Linear(2, 1), "int3")


@pytest.mark.parametrize("channels", [1, 3])
def test_inputs_of_other_widths_are_refused(channels: int) -> None:
    layer = QuantLinear(nn.Linear(2, 1), "int8", LayerRange((-1.0,), (1.0,)))
    with pytest.raises(InputError, match=rf"shape \[4, {channels}\]; it takes \[\.\.\., 2\]"):
        layer(torch.zeros(4, channels))
