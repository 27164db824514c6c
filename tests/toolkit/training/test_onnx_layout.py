"""The weight layout: PyTorch's layers against the numpy reference in ONNX's layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.modules import CELLS
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgernn import reference
from edgernn.training.onnx_layout import onnx_cell_weights, onnx_weights


@pytest.mark.parametrize("cell", CELLS)
@given(inputs=st.integers(1, 9), hidden=st.integers(1, 9), layers=st.integers(1, 3),
       both=st.booleans(), bias=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_reordered_weights_compute_what_the_layer_computes(
    cell: str, inputs: int, hidden: int, layers: int, both: bool, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = CELLS[cell](inputs, hidden, num_layers=layers, bidirectional=both, bias=bias)
    x = torch.randn(5, 2, inputs)
    with torch.no_grad():
        want = layer(x)[0].numpy()
    sequence = x.numpy()
    zeros = [np.zeros((2, hidden), np.float32)] * (2 if cell == "lstm" else 1)
    for index in range(layers):
        with torch.no_grad():
            w, r, b = onnx_weights(layer, index)
        assert (b is not None) == bias
        parts = []
        for d in range(2 if both else 1):
            added = np.zeros(2 * w.shape[1], np.float32) if b is None else b[d].numpy()
            weights = reference.float_weights(w[d].numpy(), r[d].numpy(), added)
            turn: Any = slice(None, None, -1 if d else 1)
            parts.append(getattr(reference, cell)(sequence[turn], weights, *zeros)[0][turn])
        sequence = np.concatenate(parts, axis=-1)
    np.testing.assert_allclose(sequence, want, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_has_the_weights_of_a_layer(cell: str, bias: bool) -> None:
    layer = CELLS[cell](3, 5, bias=bias)
    step = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[cell](3, 5, bias=bias)
    step.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in layer.state_dict().items()}
    )
    for found, wanted in zip(onnx_cell_weights(step), onnx_weights(layer, 0), strict=True):
        assert (found is None) == (wanted is None)
        assert found is None or torch.equal(found, wanted)
