"""Two ways to compute the same are told from two that are not, whatever the weights."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.onnx_cells import Graph, run
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgernn_exporters.onnx_import.doubling import Doubled, differ, drawn


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 200), scale=st.sampled_from([1.0, 1e3, 1e6]), seed=st.integers(0, 99))
def test_sums_in_another_order_are_the_same(size: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((size, 3)) * scale
    order = rng.permutation(size)
    results = []
    for chosen in (np.arange(size), order):
        g = Graph()
        rows = g.add("Gather", "x", g.const(chosen, np.int64), axis=1)
        g.add("Tanh", g.add("MatMul", rows, g.const(weights[chosen])), to="y")
        model = g.model({"x": [1, size]}, {"y": [1, 3]})
        results.append(
            Doubled(model).run({"x": np.random.default_rng(1).standard_normal((1, size))})
        )
    assert not differ(results[0]["y"], results[1]["y"])


@pytest.mark.parametrize("change", [1e-6, 1e-3, 1.0])
def test_a_small_weight_is_noticed(change: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4))
    assert differ(x + change * x[::-1], x)


def test_types_inside_are_double_too() -> None:
    g = Graph()
    half = g.add("Cast", "x")
    g.nodes[-1].attribute.append(helper.make_attribute("to", TensorProto.FLOAT16))
    back = g.add("Cast", half)
    g.nodes[-1].attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    zeros = g.add("ConstantOfShape", g.ints(2), value=helper.make_tensor("v", 1, [1], [0.1]))
    g.add("Sub", g.add("Add", back, zeros), g.const(0.1), to="y")
    model = g.model({"x": [2]}, {"y": [2]})
    x = drawn(np.random.default_rng(0), TensorProto.FLOAT, [2])
    assert x.dtype == np.float64
    np.testing.assert_allclose(Doubled(model).run({"x": x})["y"], x, rtol=0, atol=1e-12)
    assert run(model, {"x": x.astype(np.float32)})["y"].dtype == np.float32


def test_inputs_of_other_types_are_0_and_1() -> None:
    value = drawn(np.random.default_rng(0), TensorProto.INT64, [50])
    assert value.dtype == np.int64
    assert set(value.tolist()) == {0, 1}
