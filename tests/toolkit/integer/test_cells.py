"""Integer layers against the float ones, and against the same arithmetic in wider integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn import reference
from edgernn.integer import INTEGER, InputScale, RecurrentParameters, cells, recurrent_parameters

FORMS = {
    "lstm": ("lstm", 4, {}),
    "gru-reset-after": ("gru", 3, {"linear_before_reset": True}),
    "gru-reset-before": ("gru", 3, {"linear_before_reset": False}),
    "rnn": ("rnn", 1, {}),
}


def draw(form: str, inputs: int, hidden: int, seed: int, gain: float = 1.0) -> dict[str, Any]:
    """Draw float weights as PyTorch initializes them, times ``gain``."""
    cell, gates, options = FORMS[form]
    rng = np.random.default_rng(seed)
    reach = gain / np.sqrt(hidden)
    shapes = ((gates * hidden, inputs), (gates * hidden, hidden), (2 * gates * hidden,))
    w, r, b = (rng.uniform(-reach, reach, shape).astype(np.float32) for shape in shapes)
    return {"cell": cell, "w": w, "r": r, "b": b, **options}


def run_float(layer: dict[str, Any], x: cells.Floats) -> cells.Floats:
    """Run the float layer from zeros; return y."""
    zeros = np.zeros((x.shape[1], layer["r"].shape[1]), np.float32)
    weights = reference.float_weights(layer["w"], layer["r"], layer["b"])
    if layer["cell"] == "lstm":
        return reference.lstm(x, weights, zeros, zeros)[0]
    if layer["cell"] == "rnn":
        return reference.rnn(x, weights, zeros)[0]
    options = {"linear_before_reset": layer["linear_before_reset"]}
    return reference.gru(x, weights, zeros, **options)[0]


def run_integer(layer: RecurrentParameters, x: cells.Floats) -> tuple[cells.Integers, ...]:
    """Run the integer layer from zeros."""
    zeros = np.zeros((x.shape[1], layer.hidden_size), np.int32)
    return cells.recurrent(x, layer, zeros, zeros if layer.cell == "lstm" else None)


@pytest.mark.parametrize(("precision", "bound"), [("int8", 0.07), ("w8a16", 0.05)])
@pytest.mark.parametrize("form", FORMS)
def test_integer_layers_stay_close_to_float(form: str, precision: str, bound: float) -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((300, 3, 20)) * np.linspace(0.1, 5, 20) + 3).astype(np.float32)
    x[:, :, 4] = 2.5  # a constant channel keeps its value
    layer = draw(form, 20, 32, seed=2)
    scale = InputScale.of_range(x.min((0, 1)), x.max((0, 1)), INTEGER[precision].input_bits)
    integer = recurrent_parameters(**layer, x=scale, precision=INTEGER[precision], largest_cell=7)
    y = run_integer(integer, x)[0] * integer.state_unit
    assert np.abs(y - run_float(layer, x)).max() < bound


@given(form=st.sampled_from(list(FORMS)), precision=st.sampled_from(list(INTEGER)),
       inputs=st.integers(1, 30), hidden=st.integers(1, 30), batch=st.integers(1, 3),
       power=st.integers(-6, 12), seed=st.integers(0, 50))  # fmt: skip
def test_states_stay_in_16_bits_and_a_sequence_may_be_cut_anywhere(
    form: str, precision: str, inputs: int, hidden: int, batch: int, power: int, seed: int
) -> None:
    layer = draw(form, inputs, hidden, seed, gain=2.0**power)
    x = np.random.default_rng(seed).standard_normal((9, batch, inputs)).astype(np.float32)
    scale = InputScale.of_range(x.min((0, 1)) / 2, x.max((0, 1)) / 2, 8)  # many are beyond
    integer = recurrent_parameters(**layer, x=scale, precision=INTEGER[precision], largest_cell=4)
    y, *last = run_integer(integer, x)
    for values in (y, *last):
        assert np.abs(values).max() <= 32767
    first, *states = run_integer(integer, x[:4])
    second, *states = cells.recurrent(x[4:], integer, *states)
    np.testing.assert_array_equal(y, np.concatenate([first, second]))
    for want, got in zip(last, states, strict=True):
        np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_overflows_32_bits(form: str) -> None:
    rng = np.random.default_rng(3)
    layer = draw(form, 8, 600, seed=4, gain=300.0)
    x = rng.choice([-1e30, -1.0, 1.0, 1e30], (20, 2, 8)).astype(np.float32)
    scale = InputScale.of_range(np.full(8, -1, np.float32), np.full(8, 1, np.float32), 16)
    integer = recurrent_parameters(**layer, x=scale, precision=INTEGER["w8a16"], largest_cell=1e9)
    wide = np.full((2, 600), 32767, np.int64)
    starts = (wide, -wide)[: 2 if form == "lstm" else 1]
    narrow = [start.astype(np.int32) for start in starts]
    wanted = cells.recurrent(x, integer, *starts)
    for want, got in zip(wanted, cells.recurrent(x, integer, *narrow), strict=True):
        np.testing.assert_array_equal(want, got)
    products = np.abs(integer.recurrent.astype(np.int64)).sum(axis=0) * 32767
    assert products.max() < 2**31


def test_relu_states_have_a_unit_that_fits_the_range() -> None:
    layer = draw("rnn", 6, 10, seed=5, gain=0.7)
    x = np.abs(np.random.default_rng(6).standard_normal((50, 2, 6))).astype(np.float32) * 40
    weights = reference.float_weights(layer["w"], layer["r"], layer["b"])
    zeros = np.zeros((2, 10), np.float32)
    wanted, _ = reference.rnn(x, weights, zeros, activation=lambda a: np.maximum(a, 0))
    scale = InputScale.of_range(x.min((0, 1)), x.max((0, 1)), 16)
    integer = recurrent_parameters(
        **layer, x=scale, precision=INTEGER["w8a16"], relu=True, largest_state=wanted.max()
    )
    y, _ = run_integer(integer, x)
    assert 16384 <= y.max() <= 32767
    np.testing.assert_allclose(y * integer.state_unit, wanted, atol=0.01 * wanted.max())


@pytest.mark.parametrize("low", [-4.0, 0.0, 5.0])
def test_a_constant_channel_becomes_zero_and_counts_in_the_bias(low: float) -> None:
    scale = InputScale.of_range(np.array([low], np.float32), np.array([low], np.float32), 8)
    q = cells.quantize_input(np.full((3, 1), low, np.float32), scale, 8)
    np.testing.assert_array_equal(q, 0)
    assert np.isfinite(scale.inverse).all()
