from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.graphs import draw_parameters, make_model, normal, recurrent_model, run_onnx, tensor
from helpers.quantized import assert_same
from onnx import helper

from edgernn.errors import ModelError
from edgernn_exporters.quantization.opset import at_least, opset_of


@pytest.mark.parametrize("old", [11, 13, 17, 20])
def test_a_converted_model_computes_the_same(old: int) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["y"]),
    ]
    tensors = [tensor("w", normal(1, 30, 40)), tensor("shape", np.array([-1, 2, 20]))]
    model = make_model(nodes, {"x": ["n", 30]}, {"y": ["n", 2, 20]}, tensors, opset=old)
    feeds = {"x": normal(2, 3, 30)}
    want = run_onnx(model, feeds)
    model.producer_name = "somebody"
    helper.set_model_props(model, {"key": "value"})
    at_least(model, 21)
    onnx.checker.check_model(model, full_check=True)
    assert opset_of(model) == 21
    assert model.producer_name == "somebody"
    assert [prop.value for prop in model.metadata_props] == ["value"]
    assert [value.name for value in model.graph.input] == ["x"]
    assert_same(run_onnx(model, feeds), want)


def test_a_new_model_is_left_alone() -> None:
    model = recurrent_model("lstm", draw_parameters("lstm", inputs=4, hidden=6), opset=22)
    before = model.SerializeToString()
    at_least(model, 21)
    assert model.SerializeToString() == before
    assert opset_of(onnx.ModelProto()) == 0


def test_a_model_that_cannot_be_converted_is_refused() -> None:
    older = recurrent_model("gru", draw_parameters("gru", inputs=4, hidden=6), opset=7)
    older.opset_import[0].version = 6
    with pytest.raises(ModelError, match=r"opset 6 and cannot be brought to 21.*21 or newer"):
        at_least(older, 21)
