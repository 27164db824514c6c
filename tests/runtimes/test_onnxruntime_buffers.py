from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_runtimes.onnxruntime_buffers import allocate

CPU = ("cpu", 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(size=st.integers(1, 200), place=st.integers(0, 199), seed=st.integers(0, 99))
def test_a_value_that_is_not_finite_is_always_noticed(
    dtype: str, size: int, place: int, seed: int
) -> None:
    buffer = allocate((size,), np.dtype(dtype), CPU)
    value = np.random.default_rng(seed).standard_normal(size).astype(dtype)
    assert buffer.write(value)
    for bad in (np.nan, np.inf, -np.inf):
        broken = value.copy()
        broken[place % size] = bad
        assert not buffer.write(broken)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_extreme_finite_values_make_no_warning(dtype: str) -> None:
    buffer, info = allocate((50, 40), np.dtype(dtype), CPU), np.finfo(dtype)
    assert not buffer.write(np.full((50, 40), info.max))
    for small in (info.tiny, info.smallest_subnormal, 0):
        assert buffer.write(np.full((50, 40), small, dtype))


def test_infinities_of_both_signs_are_noticed() -> None:
    buffer = allocate((64,), np.dtype("float32"), CPU)
    assert not buffer.write(np.where(np.arange(64) % 2, np.inf, -np.inf).astype(np.float32))


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_integers_are_copied_in_and_out(dtype: str) -> None:
    buffer, value = allocate((2, 3), np.dtype(dtype), CPU), np.array([[0, 1, 1], [1, 0, 1]], dtype)
    assert buffer.write(value[::-1])
    copy = buffer.read()
    np.testing.assert_array_equal(copy, value[::-1])
    copy[:] = 0
    np.testing.assert_array_equal(buffer.read(), value[::-1])
