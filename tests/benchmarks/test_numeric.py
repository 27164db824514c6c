from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.models import ModelPair, write_model
from helpers.toy_pairs import Decoder

import edgernn_runtimes
from edgernn.errors import InputError
from edgernn_benchmarks import Report, benchmark
from edgernn_benchmarks.inputs import make_calls, run_whole
from edgernn_benchmarks.numeric import numeric_error


def test_error_is_the_largest_difference(models: ModelPair) -> None:
    plain, small = edgernn_runtimes.load(models.plain), edgernn_runtimes.load(models.small)
    calls = make_calls(plain, 30, 1, seed=0)
    expected = plain.run(calls[0])
    found = numeric_error(small, calls, expected)
    difference = np.abs(small.run(calls[0])["y"].astype(float) - expected["y"])
    assert found.max_abs_error == difference.max() > 0
    np.testing.assert_array_equal(found.by_step, difference.max(axis=(0, 2)))
    assert numeric_error(plain, calls, expected).max_abs_error == 0


def test_models_with_other_outputs_cannot_be_compared(models: ModelPair, tmp_path: Path) -> None:
    plain = edgernn_runtimes.load(models.plain)
    wide = edgernn_runtimes.load(write_model(tmp_path / "wide.onnx", output_size=5))
    calls = make_calls(plain, 5, 1, seed=0)
    with pytest.raises(InputError, match="compare models made from one another"):
        numeric_error(wide, calls, plain.run(calls[0]))


def test_the_error_of_a_decoder_is_that_of_a_stream() -> None:
    right, other = (Decoder(seed, tokens=4, scale=1.0) for seed in (0, 1))
    calls = make_calls(right, 20, 1, seed=0, sizes={"source": 5})
    expected = run_whole(right, calls)
    found = numeric_error(other, calls, expected)
    difference = np.abs(run_whole(other, calls)["logits"] - expected["logits"])
    np.testing.assert_array_equal(found.by_step, difference.max(axis=(1, 2)))


def write_with_bias(path: Path, value: float) -> Path:
    """Write a model whose outputs all are ``value``: NaN or infinity."""
    model = onnx.load(write_model(path))
    (bias,) = (item for item in model.graph.initializer if item.name == "linear_b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, value, np.float32), "linear_b"))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_error_that_is_not_finite_is_a_note_and_the_report_can_be_saved(
    value: float, models: ModelPair, tmp_path: Path
) -> None:
    bad = write_with_bias(tmp_path / "bad.onnx", value)
    report = benchmark(
        [models.plain, bad], reference=models.plain, iterations=20, warmup=1, cold_starts=0
    )
    good, row = report.rows
    assert (good.max_abs_error, good.notes) == (0, ())
    assert row.available
    assert (row.max_abs_error, row.error_by_step) == (None, None)
    assert any("returns NaN or infinity" in note for note in row.notes)
    report.save_json(tmp_path / "report.json")
    assert Report.load_json(tmp_path / "report.json") == report
    assert "bad.onnx on cpu" in report.to_markdown()
    assert "No numeric error: this model" in report.to_markdown()
