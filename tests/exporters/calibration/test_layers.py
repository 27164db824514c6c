from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graphs import draw_parameters, make_model, normal, recurrent_model, tensor
from onnx import helper

from edgernn.errors import ModelError
from edgernn_exporters.calibration.layers import find_layers


def linear_graph(operator: str, weight: Any, **attributes: Any) -> Any:
    node = helper.make_node(operator, ["x", "w"], ["y"], name="head", **attributes)
    rank = 4 if operator == "Conv" else 2
    return make_model([node], {"x": list("abcd")[:rank]}, {"y": list("efgh")[:rank]}, [weight])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers_are_found_with_their_weights(cell: str, direction: str) -> None:
    directions = 2 if direction == "bidirectional" else 1
    parameters = draw_parameters(cell, inputs=3, hidden=5, directions=directions, bias=False)
    (layer,) = find_layers(recurrent_model(cell, parameters, direction=direction))
    assert (layer.name, layer.operator, layer.x) == ("cell", cell.upper(), "x")
    assert layer.recurrent is not None
    np.testing.assert_array_equal(layer.recurrent.w, parameters.w)
    np.testing.assert_array_equal(layer.recurrent.r, parameters.r)
    assert not layer.recurrent.b.any()
    assert layer.starts == (("h", "c") if cell == "lstm" else ("h",))
    assert layer.recurrent.reverse == {
        "forward": (False,), "reverse": (True,), "bidirectional": (False, True)
    }[direction]  # fmt: skip


def test_a_layer_knows_where_the_lengths_of_its_rows_are() -> None:
    parameters = draw_parameters("gru", inputs=3, hidden=5)
    given = {4: ("lens", np.array([3], np.int32))}
    (layer,) = find_layers(recurrent_model("gru", parameters, extra_inputs=given))
    assert layer.lengths == "lens"
    (layer,) = find_layers(recurrent_model("gru", parameters))
    assert layer.lengths == ""


@pytest.mark.parametrize(
    ("cell", "extra", "attributes"),
    [
        ("lstm", {}, {"clip": 2.0}),
        ("lstm", {}, {"input_forget": 1}),
        ("lstm", {7: ("p", np.zeros((1, 15), np.float32))}, {}),
        ("gru", {}, {"activations": ["HardSigmoid", "Tanh"]}),
        ("rnn", {}, {"activations": ["Affine"]}),
    ],
)
def test_recurrent_layers_without_an_integer_form_are_left_out(
    cell: str, extra: dict[int, tuple[str, Any]], attributes: dict[str, Any]
) -> None:
    parameters = draw_parameters(cell, inputs=3, hidden=5)
    model = recurrent_model(cell, parameters, extra_inputs=extra, **attributes)
    assert find_layers(model) == ()


@pytest.mark.parametrize(
    ("operator", "shape", "attributes", "found"),
    [
        ("MatMul", (3, 4), {}, True),
        ("Gemm", (4, 3), {"transB": 1}, True),
        ("Gemm", (3, 4), {"transA": 1}, False),
        ("Conv", (4, 3, 2, 2), {}, True),
        ("MatMul", (2, 3, 4), {}, False),
    ],
)
def test_linear_layers_and_convolutions_with_constant_weights_are_found(
    operator: str, shape: tuple[int, ...], attributes: dict[str, Any], found: bool
) -> None:
    model = linear_graph(operator, tensor("w", normal(0, *shape)), **attributes)
    assert [layer.name for layer in find_layers(model)] == (["head"] if found else [])


def test_weights_that_are_not_constant_floats_are_left_out() -> None:
    assert find_layers(linear_graph("MatMul", tensor("w", np.ones((3, 4), np.float64)))) == ()
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert find_layers(make_model([node], {"x": ["a", 3], "w": [3, 4]}, {"y": ["a", 4]})) == ()


def test_layers_of_the_same_name_are_refused() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], name="m"),
             helper.make_node("MatMul", ["a", "w"], ["y"], name="m")]  # fmt: skip
    weight = tensor("w", normal(0, 3, 3))
    with pytest.raises(ModelError, match="two layers are named 'm'"):
        find_layers(make_model(nodes, {"x": ["a", 3]}, {"y": ["a", 3]}, [weight]))
