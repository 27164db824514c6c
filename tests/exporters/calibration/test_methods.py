from __future__ import annotations

import numpy as np
import pytest
from helpers.graphs import normal
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgernn.integer import INTEGER, InputScale, linear_parameters
from edgernn.integer.cells import linear, quantize_input
from edgernn_exporters.calibration.methods import METHODS, choose
from edgernn_exporters.calibration.statistics import RowStatistics

Floats = NDArray[np.float32]


def statistics_of(rows: Floats) -> RowStatistics:
    kept = RowStatistics(rows.shape[1])
    kept.add(rows)
    return kept


def scale_of(method: str, rows: Floats) -> InputScale:
    low, high = choose(method, statistics_of(rows))
    return InputScale.of_range(low.astype(np.float32), high.astype(np.float32), 8)


def error_of(scale: InputScale, rows: Floats) -> NDArray[np.float64]:
    """Return the mean squared error of each channel at 8 bits."""
    back = quantize_input(rows, scale, 8) / scale.inverse.astype(np.float64) + scale.center
    return np.square(back - rows).mean(axis=0)


@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 300),
    columns=st.integers(1, 6),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
)
def test_minmax_contains_the_data_and_the_others_lie_within(
    seed: int, rows: int, columns: int, scale: float, shift: float
) -> None:
    values = statistics_of(normal(seed, rows, columns, scale=scale) + np.float32(shift))
    low, high = choose("minmax", values)
    assert (low <= values.low).all()
    assert (high >= values.high).all()
    for method in ("percentile", "mse"):
        inner_low, inner_high = choose(method, values)
        assert (inner_low < inner_high).all()
        if rows > 1:
            assert (inner_low >= low).all()
            assert (inner_high <= high).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_channel_keeps_its_value_and_counts_when_it_moves(method: str) -> None:
    rows = normal(0, 500, 3)
    rows[:, 1] = 42.5
    scale = scale_of(method, rows)
    assert quantize_input(rows, scale, 8)[:, 1].any() == 0
    assert scale.center[1] == pytest.approx(42.5, rel=1e-6)
    moved = np.array([[0, 43.5, 0]], np.float32)
    back = quantize_input(moved, scale, 8) / scale.inverse + scale.center
    assert back[0, 1] == pytest.approx(43.5, abs=0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, -3.0])
def test_channels_that_are_all_constant_keep_their_values(method: str, value: float) -> None:
    rows = np.full((200, 2), value, np.float32)
    scale = scale_of(method, rows)
    np.testing.assert_allclose(error_of(scale, rows), 0, atol=1e-12)
    assert np.isfinite(scale.inverse).all()
    assert (scale.inverse < 1e3).all()  # it counts if it moves


def test_one_value_a_thousand_times_the_others() -> None:
    rows = normal(1, 30_000, 2)
    spoiled = rows.copy()
    spoiled[17, 0] = 1000 * np.abs(rows).max()
    clean = error_of(scale_of("percentile", rows), rows)
    scales = {method: scale_of(method, spoiled) for method in METHODS}
    np.testing.assert_allclose(error_of(scales["percentile"], rows), clean, rtol=0.2)
    assert error_of(scales["minmax"], rows)[0] > 1000 * clean[0]
    errors = {method: error_of(scale, spoiled)[0] for method, scale in scales.items()}
    assert errors["mse"] <= min(errors.values())
    for scale in scales.values():  # other channels do not suffer
        np.testing.assert_allclose(error_of(scale, rows)[1], clean[1], rtol=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_a_channel_that_is_rarely_not_zero_keeps_its_range(method: str) -> None:
    rows = normal(2, 20_000, 2)
    rows[:, 1] = 0
    rows[5, 1] = 3  # one of 20,000: beyond any percentile
    low, high = choose(method, statistics_of(rows))
    assert low[1] <= 0
    assert high[1] >= 3 * (method != "mse")


def test_mse_is_no_worse_than_the_other_methods_and_than_other_clipping() -> None:
    rng = np.random.default_rng(3)
    rows = np.stack(
        [rng.standard_normal(20_000), rng.standard_t(2, 20_000), rng.exponential(1, 20_000),
         rng.uniform(-1, 1, 20_000)], axis=1,
    ).astype(np.float32)  # fmt: skip
    errors = {method: error_of(scale_of(method, rows), rows) for method in METHODS}
    assert (errors["mse"] <= 1.03 * errors["minmax"]).all()
    assert (errors["mse"] <= 1.03 * errors["percentile"]).all()
    low, high = choose("mse", statistics_of(rows))
    for factor in (0.7, 0.85, 1.2, 1.5):
        other = InputScale.of_range(
            (low * factor).astype(np.float32), (high * factor).astype(np.float32), 8
        )
        assert (errors["mse"] <= 1.03 * error_of(other, rows)).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_symmetric_range_of_a_convolution(method: str) -> None:
    rows = np.abs(normal(4, 5000, 1))
    low, high = choose(method, statistics_of(rows), symmetric=True)
    assert low == -high
    assert 0.8 * rows.max() <= high <= rows.max()
    low, high = choose(method, statistics_of(np.zeros((9, 1), np.float32)), symmetric=True)
    assert (low, high) == (-1, 1)


@pytest.mark.parametrize("method", METHODS)
def test_all_zero_weights_give_the_bias(method: str) -> None:
    rows = normal(5, 200, 4)
    weight, bias = np.zeros((4, 3), np.float32), np.array([1, -2, 0], np.float32)
    layer = linear_parameters(weight, bias, scale_of(method, rows), INTEGER["int8"])
    np.testing.assert_array_equal(linear(rows, layer), np.broadcast_to(bias, (200, 3)))
