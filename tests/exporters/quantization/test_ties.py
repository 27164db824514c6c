from __future__ import annotations

import numpy as np
import onnx
from helpers.graphs import make_model, normal, run_onnx, tensor
from onnx import helper

from edgernn_exporters.quantization.ties import untie


def tied(*extra: onnx.NodeProto) -> onnx.ModelProto:
    """A table that symbols are read from and said by."""
    turn = helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0])
    nodes = [
        helper.make_node("Cast", ["x"], ["token"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "token"], ["vector"]),
        turn,
        helper.make_node("MatMul", ["vector", "turned"], ["logits"]),
        *extra,
    ]
    outputs = {"logits": ["n", 5]} | {name: [3, 5] for node in extra for name in node.output}
    return make_model(nodes, {"x": ["n"]}, outputs, [tensor("table", normal(1, 5, 3))])


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_each_gets_a_matrix_of_its_own_and_the_sums_stay() -> None:
    model = tied()
    feeds = {"x": np.array([4, 0, 2], np.float32)}
    want = run_onnx(model, feeds)
    untie(model)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == ["Cast", "Gather", "MatMul"]
    np.testing.assert_array_equal(run_onnx(model, feeds)["logits"], want["logits"])
    assert {item.name: list(item.dims) for item in model.graph.initializer} == {
        "table": [5, 3], "turned": [3, 5],
    }  # fmt: skip


def test_what_others_read_stays() -> None:
    model = tied(helper.make_node("Abs", ["turned"], ["other"]))
    before = model.SerializeToString()
    untie(model)
    assert model.SerializeToString() == before


def test_a_table_that_nobody_reads_any_more_is_dropped() -> None:
    model = tied()
    del model.graph.node[1]
    untie(model)
    assert [item.name for item in model.graph.initializer] == ["turned"]
