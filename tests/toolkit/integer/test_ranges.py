from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from edgernn.integer.ranges import is_constant, with_reach

VALUES = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=9))
def test_only_constant_channels_are_widened_and_once(pairs: list[tuple[float, float]]) -> None:
    low, high = np.sort(np.array(pairs, np.float64), axis=1).T
    constant = is_constant(low, high)
    wider = with_reach(low, high)
    assert_array_equal(wider[0][~constant], low[~constant])
    assert_array_equal(wider[1][~constant], high[~constant])
    assert (wider[1] > wider[0]).all()
    np.testing.assert_allclose((wider[0] + wider[1])[constant], (low + high)[constant], atol=1e-6)
    np.testing.assert_allclose(with_reach(*wider), wider, rtol=1e-6, atol=1e-6)


def test_the_reach_is_the_median_of_the_others() -> None:
    low, high = with_reach(np.array([0.0, -1, 0, 7]), np.array([1.0, 1, 9, 7]))
    assert_array_equal(low, [0, -1, 0, 6])
    assert_array_equal(high, [1, 1, 9, 8])
    assert_array_equal(with_reach(np.zeros(2), np.zeros(2)), [[-1, -1], [1, 1]])
    assert_array_equal(with_reach(np.array([-3.0]), np.array([-3.0])), [[-6], [0]])
