from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import ModelPair, write_model

import edgernn_runtimes
from edgernn.errors import InputError
from edgernn_benchmarks.inputs import make_inputs
from edgernn_benchmarks.numeric import numeric_error


def test_error_is_the_largest_difference(models: ModelPair) -> None:
    plain, small = edgernn_runtimes.load(models.plain), edgernn_runtimes.load(models.small)
    inputs = make_inputs(plain, 30, 1, seed=0)
    expected = plain.run(inputs)
    found = numeric_error(small, inputs, expected)
    difference = np.abs(small.run(inputs)["y"].astype(float) - expected["y"])
    assert found.max_abs_error == difference.max() > 0
    np.testing.assert_array_equal(found.by_step, difference.max(axis=(0, 2)))
    assert numeric_error(plain, inputs, expected).max_abs_error == 0


def test_models_with_other_outputs_cannot_be_compared(models: ModelPair, tmp_path: Path) -> None:
    plain = edgernn_runtimes.load(models.plain)
    wide = edgernn_runtimes.load(write_model(tmp_path / "wide.onnx", output_size=5))
    inputs = make_inputs(plain, 5, 1, seed=0)
    with pytest.raises(InputError, match="cannot be compared"):
        numeric_error(wide, inputs, plain.run(inputs))
