"""Which nodes are rewritten, and that the rewritten graph is close to the float one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import draw_parameters, make_model, normal, recurrent_model, run_onnx, tensor
from helpers.quantized import rewritten
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgernn.errors import ModelError


def assert_close(model: onnx.ModelProto, feeds: dict[str, Any], limit: float = 0.02) -> None:
    """Quantize a copy in place and compare with the float model, relative to its output."""
    wanted = run_onnx(model, feeds)
    rewritten(model)
    got = run_onnx(model, feeds)
    assert got.keys() == wanted.keys()
    for name, want in wanted.items():
        assert got[name].shape == want.shape
        error = np.abs(got[name] - want).max() / np.abs(want).max()
        assert 0 < error < limit, name


@pytest.mark.parametrize(
    ("cell", "attributes"),
    [
        ("lstm", {}),
        ("lstm", {"direction": "reverse"}),
        ("gru", {"linear_before_reset": 1, "direction": "bidirectional"}),
        ("gru", {"direction": "bidirectional"}),
        ("rnn", {"activations": ["Relu"]}),
        ("rnn", {"activations": ["Tanh", "Tanh"], "direction": "bidirectional"}),
        ("lstm", {"activations": ["sigmoid", "tanh", "tanh"]}),
    ],
)
@pytest.mark.parametrize("states", [True, False])
def test_recurrent_nodes_stay_close_to_float(
    cell: str, attributes: dict[str, Any], states: bool
) -> None:
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    parameters = draw_parameters(cell, inputs=12, hidden=20, directions=count)
    feeds = {"x": normal(1, 9, 3, 12)}
    if states:
        feeds |= {s: np.tanh(normal(2, count, 3, 20)) for s in ("hc" if cell == "lstm" else "h")}
    assert_close(recurrent_model(cell, parameters, states=states, **attributes), feeds, 0.05)


SIX = np.zeros((1, 3 * 6), np.float32)


@pytest.mark.parametrize(
    ("cell", "options", "reason"),
    [
        ("lstm", {"clip": 3.0}, "clip is set"),
        ("gru", {"clip": 3.0}, "clip is set"),
        ("lstm", {"extra_inputs": {7: ("P", SIX)}}, "peepholes are given"),
        ("lstm", {"input_forget": 1}, "input_forget is set"),
        ("gru", {"activations": ["HardSigmoid", "Tanh"]}, "activations other than the default"),
        ("lstm", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "activations other than the"),
        ("rnn", {"activations": ["Sigmoid"]}, "activations other than one of Tanh and Relu"),
        ("rnn", {"layout": 1, "states": False}, "layout=1"),
    ],
)
def test_layers_with_special_features_stay_float_and_say_why(
    cell: str, options: dict[str, Any], reason: str
) -> None:
    model = recurrent_model(cell, draw_parameters(cell, inputs=4, hidden=6), **options)
    before = copy.deepcopy(model)
    done = rewritten(model)
    assert done.layers == {"cell": "float32"}
    assert str(done.kept[0]).startswith(f"{cell.upper()} cell: ")
    assert reason in done.kept[0].reason
    assert model == before


def test_relu_in_one_direction_only_stays_float() -> None:
    parameters = draw_parameters("rnn", inputs=4, hidden=6, directions=2)
    model = recurrent_model(
        "rnn", parameters, direction="bidirectional", activations=["Tanh", "Relu"]
    )
    assert "one of Tanh and Relu" in rewritten(model).kept[0].reason


@pytest.mark.parametrize("place", [1, 2, 3])
def test_dynamic_weights_stay_float(place: int) -> None:
    model = recurrent_model("gru", draw_parameters("gru", inputs=4, hidden=6))
    name = model.graph.node[0].input[place]
    made = helper.make_node("Identity", [name], [f"{name}.copy"])
    model.graph.node.insert(0, made)
    model.graph.node[1].input[place] = f"{name}.copy"
    assert "not" in rewritten(model).kept[0].reason


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": 7}, "hidden_size 7"),
        ({"direction": b"bidirectional"}, "its direction need"),
        ({"direction": b"sideways"}, "unknown direction"),
    ],
)
def test_weights_that_do_not_fit_their_node_are_refused(
    change: dict[str, Any], expected: str
) -> None:
    model = recurrent_model("gru", draw_parameters("gru", inputs=4, hidden=6))
    node = model.graph.node[0]
    kept = [item for item in node.attribute if item.name not in change]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in change.items())])
    with pytest.raises(ModelError, match=expected):
        rewritten(model)


# Linear layers


def linear(nodes: list[onnx.NodeProto], outputs: dict[str, list[Any]], **tensors: Any) -> Any:
    made = [tensor(name, value) for name, value in tensors.items()]
    return make_model(nodes, {"x": ["batch", 24]}, outputs, made)


W, BIAS = normal(1, 24, 7), normal(2, 7)


@given(
    trans=st.booleans(), bias=st.sampled_from([None, (7,), (1, 7), (1,), (1, 1), ()]),
    alpha=st.sampled_from([None, 1.0]),
)  # fmt: skip
def test_gemm_with_any_row_bias_is_quantized(
    trans: bool, bias: tuple[int, ...] | None, alpha: float | None
) -> None:
    attributes: dict[str, Any] = {"transB": int(trans)}
    if alpha is not None:
        attributes |= {"alpha": alpha, "beta": 1.0}
    tensors = {"w": W.T.copy() if trans else W}
    if bias is not None:
        tensors["c"] = normal(3, *bias).astype(np.float32).reshape(bias)
    node = helper.make_node("Gemm", ["x", *tensors], ["y"], **attributes)
    model = linear([node], {"y": ["batch", 7]}, **tensors)
    assert_close(model, {"x": normal(4, 5, 24)})
    assert [item.op_type for item in model.graph.node] == ["LinearInt8Dynamic"]


@pytest.mark.parametrize(
    ("attributes", "bias"),
    [({"transA": 1}, (7,)), ({"alpha": 2.0}, (7,)), ({"beta": 0.5}, (7,)), ({}, (7, 1)),
     ({}, (7, 7))],
)  # fmt: skip
def test_other_gemms_stay_float(attributes: dict[str, Any], bias: tuple[int, ...]) -> None:
    # Batch 7 = output size 7, so that a column bias could be mistaken for a row.
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], **attributes)
    shape = ["k", "batch"] if "transA" in attributes else ["batch", 24]
    model = make_model(
        [node], {"x": shape}, {"y": ["batch", 7]}, [tensor("w", W), tensor("c", normal(3, *bias))]
    )
    done = rewritten(model)
    assert done.layers == {"y": "float32"}
    assert "set" in done.kept[0].reason


def test_matmul_takes_the_bias_behind_it() -> None:
    for inputs in (["m", "b"], ["b", "m"]):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]),
                 helper.make_node("Add", inputs, ["y"])]  # fmt: skip
        model = linear(nodes, {"y": ["batch", 7]}, w=W, b=BIAS)
        assert_close(model, {"x": normal(4, 5, 24)})
        assert [item.op_type for item in model.graph.node] == ["LinearInt8Dynamic"]
        assert {item.name for item in model.graph.initializer}.isdisjoint({"w", "b"})


def test_a_product_that_is_used_elsewhere_keeps_its_own_name() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
        helper.make_node("Relu", ["m"], ["z"]),
    ]
    model = linear(nodes, {"y": ["batch", 7], "z": ["batch", 7]}, w=W, b=BIAS)
    assert_close(model, {"x": normal(4, 5, 24)})
    assert [item.op_type for item in model.graph.node] == ["LinearInt8Dynamic", "Add", "Relu"]


def test_a_product_that_is_a_graph_output_keeps_its_own_name() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]),
             helper.make_node("Add", ["m", "b"], ["y"])]  # fmt: skip
    model = linear(nodes, {"m": ["batch", 7], "y": ["batch", 7]}, w=W, b=BIAS)
    assert_close(model, {"x": normal(4, 5, 24)})


def test_a_product_that_a_subgraph_reads_keeps_its_own_name() -> None:
    shape = ["batch", 7]
    value = helper.make_tensor_value_info("t", 1, shape)
    body = helper.make_graph([helper.make_node("Neg", ["m"], ["t"])], "body", [], [value])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
        helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body),
    ]
    model = linear(nodes, {"y": shape, "z": shape}, w=W, b=BIAS, yes=np.array(True))
    assert_close(model, {"x": normal(4, 5, 24)})


def test_a_bias_shared_by_two_layers_and_a_sum_with_itself() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
        helper.make_node("MatMul", ["x", "w2"], ["m2"]),
        helper.make_node("Add", ["b", "m2"], ["y2"]),
        helper.make_node("MatMul", ["x", "w2"], ["m3"]),
        helper.make_node("Add", ["m3", "m3"], ["y3"]),
    ]
    outputs = {name: ["batch", 7] for name in ("y", "y2", "y3")}
    model = linear(nodes, outputs, w=W, w2=2 * W, b=BIAS)
    assert_close(model, {"x": normal(4, 5, 24)})


def test_a_bias_of_another_shape_stays_an_add() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]),
             helper.make_node("Add", ["m", "b"], ["y"])]  # fmt: skip
    model = linear(nodes, {"y": ["batch", 7]}, w=W, b=normal(3, 5, 7))
    assert_close(model, {"x": normal(4, 5, 24)})
    assert [item.op_type for item in model.graph.node] == ["LinearInt8Dynamic", "Add"]


def test_weights_shared_by_two_nodes_are_stored_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("MatMul", ["n", "w"], ["z"]),
    ]
    model = linear(nodes, {"y": ["batch", 7], "z": ["batch", 7]}, w=W)
    assert_close(model, {"x": normal(4, 5, 24)})
    assert [list(item.dims) for item in model.graph.initializer].count([24, 7]) == 1


def test_a_weight_that_a_float_node_reads_too_stays() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Gather", ["w", "i"], ["z"]),
    ]
    model = linear(nodes, {"y": ["batch", 7], "z": [7]}, w=W, i=np.array(0))
    assert rewritten(model).layers == {"y": "int8-dynamic"}
    np.testing.assert_array_equal(run_onnx(model, {"x": normal(4, 5, 24)})["z"], W[0])


def test_matmul_of_two_computed_values_stays_float() -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["t"]),
             helper.make_node("MatMul", ["t", "x"], ["y"])]  # fmt: skip
    done = rewritten(linear(nodes, {"y": [24, 24]}))
    assert done.layers == {"y": "float32"}
    assert done.kept[0].reason == "the second factor is not a constant float matrix of its own"


@pytest.mark.parametrize("name", ["x", "h", "cell", "W", "R_l0"])
def test_names_that_look_like_ours_do_not_collide(name: str) -> None:
    model = recurrent_model("gru", draw_parameters("gru", inputs=4, hidden=6), states=False)
    extra = helper.make_node("Identity", ["y"], [f"{name}.forward.y"])
    more = [helper.make_node("Neg", [f"{name}.forward.y"], [f"{name}.batch"]),
            helper.make_node("Neg", [f"{name}.batch"], [".forward.y"])]  # fmt: skip
    model.graph.node.extend([extra, *more])
    model.graph.output.append(helper.make_tensor_value_info(".forward.y", 1, ["t", 1, "b", 6]))
    assert_close(model, {"x": normal(1, 5, 2, 4)}, 0.1)
