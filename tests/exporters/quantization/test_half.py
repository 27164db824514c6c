from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.graphs import (
    draw_parameters,
    make_model,
    normal,
    open_onnx,
    recurrent_model,
    run_onnx,
    tensor,
)
from helpers.quantized import rewritten
from onnx import helper

from edgernn.errors import ModelError

W = normal(1, 24, 7)


def rounded(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """Round the named weights of a copy to float16."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for item in copy.graph.initializer:
        if item.name in names:
            value = onnx.numpy_helper.to_array(item).astype(np.float16).astype(np.float32)
            item.CopyFrom(onnx.numpy_helper.from_array(value, item.name))
    return copy


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_layer_computes_with_its_rounded_weights(cell: str) -> None:
    model = recurrent_model(cell, draw_parameters(cell, inputs=5, hidden=6))
    states = {s: normal(3, 1, 2, 6) for s in ("hc" if cell == "lstm" else "h")}
    feeds = {"x": normal(2, 4, 2, 5), **states}
    want = run_onnx(rounded(model, {"W", "R", "B"}), feeds)
    assert rewritten(model, "fp16").layers == {"cell": "fp16"}
    got = run_onnx(model, feeds)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    kinds = {item.name: item.data_type for item in model.graph.initializer}
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT16}


def test_onnxruntime_casts_once_at_load() -> None:
    model = recurrent_model("gru", draw_parameters("gru", inputs=5, hidden=6))
    rewritten(model, "fp16")
    assert [node.op_type for node in model.graph.node].count("Cast") == 3
    session = open_onnx(model)
    session.run(None, {"x": normal(2, 4, 2, 5), "h": normal(3, 1, 2, 6)})


def test_a_shared_weight_is_stored_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Gather", ["w", "i"], ["t"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
    ]
    shape = ["n", 7]
    model = make_model(
        nodes, {"x": ["n", 24]}, {"y": shape, "t": [7], "z": shape},
        [tensor("w", W), tensor("i", np.array(0))],
    )  # fmt: skip
    done = rewritten(model, "fp16")
    assert done.layers == {"y": "fp16", "z": "fp16"}
    assert [node.op_type for node in model.graph.node].count("Cast") == 1
    got = run_onnx(model, {"x": normal(1, 3, 24)})
    np.testing.assert_array_equal(got["t"], W[0])  # not an embedding: reads the float weight


def test_convolutions_and_embeddings_are_stored_in_half() -> None:
    nodes = [
        helper.make_node("Gather", ["t", "i"], ["e"]),
        helper.make_node("ConvTranspose", ["e", "w"], ["y"]),
    ]
    model = make_model(
        nodes, {}, {"y": ["n", 2, "m"]},
        [tensor("t", normal(1, 30, 6)), tensor("i", np.array([[1, 2, 3]])),
         tensor("w", normal(2, 3, 2, 3))],
    )  # fmt: skip
    want = run_onnx(rounded(model, {"t", "w"}), {})["y"]
    assert set(rewritten(model, "fp16").layers.values()) == {"fp16"}
    np.testing.assert_array_equal(run_onnx(model, {})["y"], want)


def test_a_table_of_several_embeddings_is_stored_once() -> None:
    nodes = [
        helper.make_node("Gather", ["t", "i"], ["e"]),
        helper.make_node("Gather", ["t", "j"], ["f"]),
    ]
    shape = [2, 6]
    model = make_model(
        nodes, {}, {"e": shape, "f": shape},
        [tensor("t", normal(1, 30, 6)), tensor("i", np.array([1, 2])),
         tensor("j", np.array([0, 3]))],
    )  # fmt: skip
    want = run_onnx(rounded(model, {"t"}), {})
    assert rewritten(model, "fp16").layers == {"e": "fp16", "f": "fp16"}
    got = run_onnx(model, {})
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    assert onnx.TensorProto.FLOAT not in {item.data_type for item in model.graph.initializer}


def test_a_layer_that_stays_takes_no_weight_from_another() -> None:
    parameters = draw_parameters("gru", inputs=5, hidden=6)
    parameters.r[0, 0, 0] = 7e4
    model = recurrent_model("gru", parameters)
    other = recurrent_model("gru", draw_parameters("gru", inputs=5, hidden=6)).graph
    second = other.node[0]
    second.name, second.input[2] = "second", "R2"
    second.output[:] = ["z", "zk"]
    model.graph.node.append(second)
    model.graph.initializer.append(tensor("R2", normal(4, 1, 18, 6)))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, ["t", 1, "b", 6]))
    feeds = {"x": normal(2, 4, 2, 5), "h": normal(3, 1, 2, 6)}
    want = run_onnx(rounded(model, {"R2"}), feeds)
    assert rewritten(model, "fp16").layers == {"cell": "float32", "second": "fp16"}
    got = run_onnx(model, feeds)
    np.testing.assert_array_equal(got["y"], want["y"])
    np.testing.assert_allclose(got["z"], want["z"], atol=2e-3)


def test_weights_beyond_float16_stay_and_broken_ones_are_refused() -> None:
    def matmul(weight: object) -> onnx.ModelProto:
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        return make_model([node], {"x": ["n", 2]}, {"y": ["n", 1]}, [tensor("w", weight)])

    done = rewritten(matmul(np.float32([[1], [7e4]])), "fp16")
    assert "values beyond ±65504" in done.kept[0].reason
    with pytest.raises(ModelError, match=r"'w' holds NaN or infinite.*earlier checkpoint"):
        rewritten(matmul(np.float32([[1], [np.nan]])), "fp16")
