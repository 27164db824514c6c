from __future__ import annotations

import numpy as np
import pytest

from edgernn.contract import Axes, TensorSpec
from edgernn.errors import InputError
from edgernn.sessions import check_inputs, check_tensor

SPEC = TensorSpec("x", "float32", ("batch", "time", 4))
X = np.ones((2, 3, 4), np.float32)


def test_good_arrays_pass_also_as_views_and_at_the_limits() -> None:
    for good in (X, X[::-1], np.asfortranarray(X), X * np.finfo(np.float32).max, X * -0.0):
        check_tensor(SPEC, good)
    check_tensor(TensorSpec("i", "int64", (2,)), np.array([1, 2]))
    check_tensor(TensorSpec("s", "float32", ()), np.array(1, np.float32))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[[1.0]]], "x must be a numpy array, not list"),
        (X.astype(np.float16), r"expected x float32 \[batch, time, 4\], got dtype float16"),
        (X.astype(">f4"), "byte order"),
        (X[0], r"got shape \[3, 4\]"),
        (X[..., :3], r"got shape \[2, 3, 3\]"),
        (X[:, :0], r"an empty array of shape \[2, 0, 4\]"),
        (np.where(np.arange(4) == 2, np.nan, X).astype(np.float32), r"nan at index \[0, 0, 2\]"),
        (X * -np.inf, r"-inf at index \[0, 0, 0\]; replace"),
    ],
)
def test_bad_arrays_are_named(value: np.ndarray, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        check_tensor(SPEC, value)


def test_inputs_must_have_the_names_and_agree_on_their_axes() -> None:
    specs = (SPEC, TensorSpec("v", "float32", ("batch", 2)))
    axes = {"x": Axes(0, 1), "v": Axes(0, None)}
    v = np.ones((2, 2), np.float32)
    check_inputs(specs, axes, {"v": v, "x": X})
    with pytest.raises(InputError, match=r"takes inputs \['x', 'v'\], but \['x'\] were given"):
        check_inputs(specs, axes, {"x": X})
    with pytest.raises(InputError, match=r"batch axis: {'x': 2, 'v': 1}"):
        check_inputs(specs, axes, {"x": X, "v": v[:1]})
    check_inputs(specs, {}, {"x": X, "v": v[:1]})


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_lengths_lie_within_the_time_axis(dtype: str) -> None:
    specs = (TensorSpec("n", dtype, ("batch",)), SPEC)
    axes = {"n": Axes(0, None), "x": Axes(0, 1)}
    check_inputs(specs, axes, {"x": X, "n": np.array([0, 3], dtype)}, "n")
    for row, wrong in enumerate((-1, 4)):
        n = np.zeros(2, dtype)
        n[row] = wrong
        with pytest.raises(InputError, match=f"n is {wrong} for row {row}, .* from 0 to 3"):
            check_inputs(specs, axes, {"x": X, "n": n}, "n")
        check_inputs(specs, axes, {"x": X, "n": n})
    with pytest.raises(InputError, match=r"batch axis: {'n': 1, 'x': 2}"):
        check_inputs(specs, axes, {"x": X, "n": np.array([9], dtype)}, "n")
