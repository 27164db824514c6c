from __future__ import annotations

import numpy as np
import pytest
from helpers.graphs import Floats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgernn.errors import ModelError
from edgernn_exporters.quantization.weights import quantize_weight

FINITE = st.floats(-(2.0**99), 2.0**99, width=32)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FINITE)
)
def test_each_weight_is_off_by_at_most_half_a_step(weight: Floats) -> None:
    stored = quantize_weight(weight, "w")
    assert stored.values.dtype == np.uint8
    assert stored.values.min() >= 1  # symmetric: 0 would be -128 steps
    assert stored.scale.dtype == np.float32
    assert (stored.scale > 0).all()
    distance = np.abs(stored.dequantized().astype(np.float64) - weight)
    assert (distance <= stored.scale.astype(np.float64) * 0.5001).all()


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)), st.integers(0, 3))
def test_columns_are_independent(weight: Floats, column: int) -> None:
    changed = weight.copy()
    changed[:, column] *= 50
    others = [index for index in range(4) if index != column]
    before, after = quantize_weight(weight, "w"), quantize_weight(changed, "w")
    np.testing.assert_array_equal(before.values[:, others], after.values[:, others])
    np.testing.assert_array_equal(before.scale[others], after.scale[others])


def test_the_largest_weight_takes_the_last_step_and_signs_mirror() -> None:
    weight = np.array([[0.5, -2.0], [-0.25, 1.0]], np.float32)
    up, down = quantize_weight(weight, "w"), quantize_weight(-weight, "w")
    assert up.values[0].tolist() == [255, 1]
    np.testing.assert_array_equal(up.values.astype(int) - 128, 128 - down.values.astype(int))


def test_zeros_and_denormals_have_a_finite_scale() -> None:
    weight = np.array([[0, 1e-42, -3e-39]], np.float32)
    stored = quantize_weight(weight, "w")
    assert stored.scale[0] == 1
    assert np.isfinite(1 / stored.scale).all()
    assert stored.values.tolist() == [[128, 128, 128]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ModelError, match=r"'w' holds NaN or infinite.*earlier checkpoint"):
        quantize_weight(np.array([[1, value]], np.float32), "w")
