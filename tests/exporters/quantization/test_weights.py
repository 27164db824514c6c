from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.quantization.weights import nibbles, stored


@pytest.mark.parametrize(("bits", "limit"), [(8, 128), (4, 8)])
def test_zero_lies_in_the_middle(bits: int, limit: int) -> None:
    values = np.arange(-limit, limit).astype(np.int8)
    unsigned = stored(values, bits)
    assert unsigned.dtype == np.uint8
    np.testing.assert_array_equal(unsigned.astype(int) - limit, values)


@given(rows=st.integers(0, 5), columns=st.integers(0, 5), seed=st.integers(0, 99))
def test_onnx_reads_nibbles_back(rows: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 16, (rows, columns)).astype(np.uint8)
    tensor = nibbles("w", values)
    assert len(tensor.raw_data) == (values.size + 1) // 2
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor).astype(np.uint8), values)
