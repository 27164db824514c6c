from __future__ import annotations

import json

import numpy as np
import pytest

from edgernn.comparison import compare_outputs
from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, InputError

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
