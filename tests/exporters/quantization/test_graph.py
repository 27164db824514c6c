from __future__ import annotations

import numpy as np
import onnx
from helpers.graphs import draw_parameters, make_model, normal, recurrent_model, run_onnx, tensor
from helpers.quantized import rewritten
from onnx import helper

from edgernn_exporters.quantization.graph import GraphEditor


def small() -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return make_model([node], {"x": ["n", 3]}, {"y": ["n", 2]}, [tensor("w", normal(1, 3, 2))])


def test_constants_are_float_initializers_only() -> None:
    model = small()
    model.graph.initializer.append(tensor("i", np.array([4, 5])))
    graph = GraphEditor(model, 18)
    np.testing.assert_array_equal(graph.constant("w"), normal(1, 3, 2))
    assert graph.constant("x") is None
    assert graph.constant("i") is None
    assert graph.integers("i") == [4, 5]
    assert graph.integers("w") is None


def test_names_are_unique_and_equal_values_stored_once() -> None:
    graph = GraphEditor(small(), 18)
    ones, twos = np.ones(2, np.float32), np.full(2, 2, np.float32)
    assert graph.add("a", ones) == graph.add("a", ones.copy())
    assert len({graph.add("a", ones), graph.add("a", twos), graph.add("w", ones)}) == 2
    assert graph.add("w", np.full(3, 2, np.float32)) != "w"
    assert graph.unique("x") != "x"
    four = graph.add("a", np.ones(2, np.uint8), bits=4)
    assert four != graph.add("a", np.ones(2, np.uint8))


def test_a_sole_consumer_is_alone_of_the_kind_and_not_an_output() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Abs", ["b"], ["c"]),
        helper.make_node("Abs", ["b"], ["d"]),
    ]
    model = make_model(nodes, {"x": ["n"]}, {"c": ["n"], "d": ["n"]})
    graph = GraphEditor(model, 18)
    found = graph.sole_consumer("a", "Abs")
    assert found is not None
    assert list(found.output) == ["b"]
    assert graph.sole_consumer("a", "Neg") is None
    assert graph.sole_consumer("b", "Abs") is None
    assert graph.sole_consumer("c", "Abs") is None


def test_initializers_listed_as_inputs_leave_with_their_weights() -> None:
    model = recurrent_model("gru", draw_parameters("gru", inputs=4, hidden=6), states=False,
                            opset=14)  # fmt: skip
    model.ir_version = 3
    for item in list(model.graph.initializer):
        model.graph.input.append(
            helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
        )
    onnx.checker.check_model(model)
    rewritten(model)
    assert [value.name for value in model.graph.input] == ["x"]
    assert run_onnx(model, {"x": normal(1, 5, 2, 4)})["y"].shape == (5, 1, 2, 6)


def test_what_an_old_node_reads_is_redirected() -> None:
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["a"], ["y"])]
    model = make_model(nodes, {"x": ["n"]}, {"y": ["n"]})
    graph = GraphEditor(model, 18)
    graph.read_instead("a", "b")
    first, second = graph.nodes()
    graph.finish([first, helper.make_node("Exp", ["a"], ["b"]), second])
    np.testing.assert_allclose(run_onnx(model, {"x": np.float32([1, 2])})["y"], np.exp([-1, -2]))


def test_initializers_that_nobody_reads_stay_unless_they_are_dropped() -> None:
    model = small()
    model.graph.initializer.extend([tensor("start", np.ones(2)), tensor("old", np.ones(2))])
    graph = GraphEditor(model, 18)
    graph.drop("old")
    graph.finish(list(graph.nodes()))
    assert [item.name for item in model.graph.initializer] == ["w", "start"]
