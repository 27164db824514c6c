"""Integer weights against the float ones they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.errors import ModelError
from edgernn.integer.weights import MOST_16_BIT, quantize_rows


@given(k=st.integers(1, 40), n=st.integers(1, 20), power=st.integers(-30, 30),
       seed=st.integers(0, 99))  # fmt: skip
def test_each_weight_is_off_by_half_a_step_at_most(k: int, n: int, power: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((k, n)).astype(np.float32)
    weight *= np.float32(2.0**power)
    got = quantize_rows(weight, "w")
    assert np.abs(got.values).max() == 127
    assert (np.abs(got.dequantized() - weight) <= got.scale * 0.501).all()


@given(seed=st.integers(0, 99), spread=st.floats(0.1, 3.0))
def test_four_bits_lose_no_more_than_with_the_largest_weight_as_limit(
    seed: int, spread: float
) -> None:
    weight = np.random.default_rng(seed).standard_normal((64, 8)) * np.arange(1, 9) * spread
    weight = weight.astype(np.float32)
    got = quantize_rows(weight, "w", bits=4)
    assert np.abs(got.values).max() <= 7
    plain = np.abs(weight).max(axis=0) / np.float32(7)
    error = np.square(np.rint(weight / plain) * plain - weight).sum(axis=0)
    assert (np.square(got.dequantized() - weight).sum(axis=0) <= error * (1 + 1e-5)).all()


def test_columns_of_zeros_and_denormals_stay_finite() -> None:
    weight = np.zeros((4, 2), np.float32)
    weight[:, 1] = 1e-42
    for bits in (8, 4):
        got = quantize_rows(weight, "w", bits=bits)
        assert np.isfinite(got.scale).all()
        assert (got.scale > 0).all()
        assert (got.values == 0).all()


@pytest.mark.parametrize("rows", [516, 517, 3000])
def test_sums_with_16_bit_inputs_fit_in_32_bits(rows: int) -> None:
    weight = np.ones((rows, 3), np.float32) * np.array([1, -2, 0.001], np.float32)
    weight[0, 2] = 1  # a column that needs no other scale
    got = quantize_rows(weight, "w", most=MOST_16_BIT)
    sums = np.abs(got.values.astype(np.int64)).sum(axis=0)
    assert sums.max() * 32767 < 2**31
    assert got.scale[2] == np.float32(1) / np.float32(127)
    np.testing.assert_allclose(got.dequantized()[:, :2], weight[:, :2], rtol=0.05)


def test_more_inputs_than_16_bits_allow_are_refused() -> None:
    weight = np.ones((MOST_16_BIT + 1, 1), np.float32)
    assert quantize_rows(weight[1:], "w", most=MOST_16_BIT).values.any()
    with pytest.raises(ModelError, match=r"'w' has 65,536 inputs, .* allow 65,535"):
        quantize_rows(weight, "w", most=MOST_16_BIT)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_diverged_weights_are_refused(bad: float) -> None:
    with pytest.raises(ModelError, match=r"'decoder\.W' holds NaN or infinite"):
        quantize_rows(np.array([[1, bad]], np.float32), "decoder.W")
