from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.foreign import INT64, NODE, foreign, value
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from edgernn.errors import UsageError
from edgernn_exporters.onnx_import.fixing import fix
from edgernn_exporters.onnx_import.notes import Notes


def model(shape: list[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return foreign(
        [NODE("Identity", ["k"], ["out"]), NODE("Relu", ["x"], ["y"])],
        [value("k", shape, kind), value("x", ["batch", "time", 3])],
        [value("out", shape, kind), value("y", ["batch", "time", 3])],
    )


def refused(shape: list[int | str], kind: int, fixes: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        fix(model(shape, kind), fixes, Notes())
    return str(caught.value)


@given(shape=st.lists(st.integers(1, 3), max_size=3), scalar=st.integers(-100, 100))
def test_a_number_fills_the_declared_shape(shape: list[int], scalar: int) -> None:
    for kind, dtype in ((INT64, np.int64), (TensorProto.FLOAT, np.float32)):
        changed = model(shape, kind)
        values = fix(changed, {"k": scalar}, Notes())
        assert [v.name for v in changed.graph.input] == ["x"]
        stored = numpy_helper.to_array(changed.graph.initializer[0])
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored, np.full(shape, scalar, dtype))
        np.testing.assert_array_equal(values["k"], stored)


def test_lists_arrays_and_truth_values() -> None:
    for shape, kind, given_, want in (
        ([3], INT64, [1, 2, 3], [1, 2, 3]),
        ([2, 3], INT64, [1, 2, 3], [[1, 2, 3]] * 2),
        (["n"], INT64, [5, 6], [5, 6]),
        ([], TensorProto.BOOL, True, True),
        ([2], TensorProto.FLOAT16, np.array([0.5, 1.5]), [0.5, 1.5]),
    ):
        changed = model(shape, kind)
        fix(changed, {"k": given_}, Notes())
        got = numpy_helper.to_array(changed.graph.initializer[0])
        np.testing.assert_array_equal(got, want)


def test_an_axis_gets_its_size_everywhere() -> None:
    changed, notes = model([]), Notes()
    assert fix(changed, {"batch": 1, "time": 7}, notes) == {}
    for spec in (changed.graph.input[1], changed.graph.output[1]):
        assert [dim.dim_value for dim in spec.type.tensor_type.shape.dim] == [1, 7, 3]
    assert notes == ["Axis 'batch' has size 1 everywhere.", "Axis 'time' has size 7 everywhere."]
    dynamic = model(["batch"], INT64)
    fix(dynamic, {"batch": 3, "k": 9}, Notes())
    np.testing.assert_array_equal(numpy_helper.to_array(dynamic.graph.initializer[0]), [9, 9, 9])


def test_what_does_not_fit() -> None:
    assert refused([], INT64, {"sr": 1}) == (
        "--fix sr: the model has no such input or axis; inputs are 'k', 'x', dynamic axes "
        "'batch', 'time'"
    )
    assert "of type int64, which does not hold that" in refused([], INT64, {"k": 1.5})
    assert "does not hold that" in refused([], TensorProto.INT8, {"k": 1000})
    assert "does not hold that" in refused([], TensorProto.FLOAT, {"k": float("inf")})
    assert "does not hold that" in refused([], INT64, {"k": True})
    assert "give a number, or a list" in refused([], INT64, {"k": "text"})
    assert "give a number, or a list" in refused([], INT64, {"k": [[1], [2, 3]]})
    assert "the input has shape [3]" in refused([3], INT64, {"k": [1, 2]})
    assert "the size of axis n of the input is open" in refused(["n"], INT64, {"k": 1})
    assert "no tensor of numbers" in refused([], TensorProto.STRING, {"k": 1})
    for size in (0, -1, 1.5, True):
        assert "give a size of 1 or more" in refused([], INT64, {"batch": size})
