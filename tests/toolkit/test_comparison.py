from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.cli import runner
from helpers.models import write_model

from edgernn.comparison import compare_outputs
from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, InputError
from edgernn.npz import write_npz

A = np.array([[[1.0, -4.0], [2.0, 0.0]]], np.float32)


def test_equal_outputs_are_infinitely_close() -> None:
    result = compare_outputs({"y": A}, {"y": A.copy()}, {"y": Axes(0, 1)})
    assert result.max_abs_error == 0
    assert result.outputs["y"].sqnr_db == np.inf
    assert result.to_json()["outputs"]["y"]["sqnr_db"] is None
    result.require(0)


def test_distances_are_measured_over_all_and_along_time() -> None:
    other = A.copy()
    other[0, 1, 0] += 0.5
    item = compare_outputs({"y": A}, {"y": other}, {"y": Axes(0, 1)}).outputs["y"]
    assert (item.max_abs_error, item.mean_abs_error, item.max_abs_reference) == (0.5, 0.125, 4)
    assert item.error_by_step == (0, 0.5)
    assert item.sqnr_db == pytest.approx(10 * np.log10(21 / 0.25))
    assert compare_outputs({"y": A}, {"y": other}).outputs["y"].error_by_step == ()


def test_the_worst_output_decides_and_is_named() -> None:
    result = compare_outputs({"y": A, "z": A}, {"y": A, "z": A + 2})
    assert result.max_abs_error == 2
    with pytest.raises(AccuracyGateError, match=r"'z' is off by 2, .*tolerance 1.9; loosen") as bad:
        result.require(1.9)
    assert bad.value.exit_code == 5
    json.dumps(result.to_json())


@pytest.mark.parametrize("order", ["yz", "zy"])
def test_nan_is_never_lost(order: str) -> None:
    candidate = {"y": A * np.nan, "z": A + 1}
    result = compare_outputs(dict.fromkeys(order, A), candidate)
    assert np.isnan(result.max_abs_error)
    with pytest.raises(AccuracyGateError, match=r"'y' is off by nan: .*; check its weights"):
        result.require_finite()
    with pytest.raises(AccuracyGateError, match="'y' is off by nan"):
        result.require(5)


def test_infinities_and_other_types() -> None:
    infinite = np.array([np.inf, 1.0])
    assert compare_outputs({"y": infinite}, {"y": infinite}).max_abs_error == 0
    assert compare_outputs({"y": infinite}, {"y": -infinite}).max_abs_error == np.inf
    flags = np.array([True, False])
    assert compare_outputs({"y": flags}, {"y": ~flags}).max_abs_error == 1
    small, large = np.array([1], np.uint8), np.array([255], np.uint8)
    assert compare_outputs({"y": small}, {"y": large}).max_abs_error == 254


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_json_has_none_for_what_is_not_finite(value: float) -> None:
    candidate = A.copy()
    candidate[0, 1, 0] = value
    result = compare_outputs({"y": A}, {"y": candidate}, {"y": Axes(0, 1)})
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["max_abs_error"] is None
    assert values["outputs"]["y"] == {
        "max_abs_error": None, "mean_abs_error": None, "max_abs_reference": 4,
        "sqnr_db": None, "error_by_step": [0, None],
    }  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A model, one that returns NaN, and inputs."""
    x = np.random.default_rng(0).standard_normal((1, 12, 8)).astype(np.float32)
    write_npz(tmp_path / "x.npz", {"x": x})
    good = write_model(tmp_path / "good.onnx")
    model = onnx.load(good)
    (bias,) = (item for item in model.graph.initializer if item.name == "linear_b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, np.nan, np.float32), "linear_b"))
    onnx.save(model, tmp_path / "bad.onnx")
    return [good, tmp_path / "bad.onnx", tmp_path / "x.npz"]


@pytest.mark.parametrize("more", [[], ["--tolerance", "1"]])
def test_the_command_exits_with_5_for_nan_and_prints_first(
    files: list[Path], more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, x = files
    cli = runner(capsys)
    shown = cli("compare", good, bad, "--inputs", x, *more)
    assert (shown.code, "max error nan" in shown.out) == (5, True)
    assert "max of each 2 steps: nan nan" in shown.out
    assert "error: output 'y' is off by nan: one of the models returns NaN" in shown.err
    as_json = cli("compare", good, bad, "--inputs", x, "--json", *more)
    assert as_json.code == 5
    assert json.loads(as_json.out)["outputs"]["y"]["error_by_step"] == [None] * 12
    assert cli("compare", good, good, "--inputs", x, *more).code == 0


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ({"y": A}, {"z": A}, r"different outputs, \['y'\] and \['z'\]"),
        ({"y": A}, {"y": A[0]}, r"'y' has shapes \[1, 2, 2\] and \[2, 2\]"),
        ({}, {}, "no values to compare"),
        ({"y": A[:0]}, {"y": A[:0]}, "no values to compare"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    reference: dict[str, np.ndarray], candidate: dict[str, np.ndarray], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        compare_outputs(reference, candidate)
