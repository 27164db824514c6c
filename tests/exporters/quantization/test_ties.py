from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, normal, run_onnx, tensor
from onnx import helper

from edgernn_exporters.calibration import calibrate
from edgernn_exporters.quantization import quantize
from edgernn_exporters.quantization.ties import untie
from edgernn_runtimes import load


def tied(*extra: onnx.NodeProto, sizes: dict[str, list[Any]] | None = None) -> onnx.ModelProto:
    """A table that symbols are read from and said by."""
    turn = helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0])
    nodes = [
        helper.make_node("Cast", ["x"], ["token"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "token"], ["vector"]),
        turn,
        helper.make_node("MatMul", ["vector", "turned"], ["logits"]),
        *extra,
    ]
    outputs = {name: [3, 5] for node in extra for name in node.output}
    outputs |= {"logits": ["n", 5]} if sizes is None else sizes
    tables = [tensor("table", normal(1, 5, 3))]
    tables += [] if sizes is None else [tensor("w", normal(2, 5, 2))]
    return make_model(nodes, {"x": ["n"]}, outputs, tables)


def every(node: onnx.NodeProto) -> bool:
    return True


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_each_gets_a_matrix_of_its_own_and_the_sums_stay() -> None:
    model = tied()
    feeds = {"x": np.array([4, 0, 2], np.float32)}
    want = run_onnx(model, feeds)
    untie(model, every)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == ["Cast", "Gather", "MatMul"]
    np.testing.assert_array_equal(run_onnx(model, feeds)["logits"], want["logits"])
    assert {item.name: list(item.dims) for item in model.graph.initializer} == {
        "table": [5, 3], "turned": [3, 5],
    }  # fmt: skip


def test_what_others_read_stays() -> None:
    model = tied(helper.make_node("Abs", ["turned"], ["other"]))
    before = model.SerializeToString()
    untie(model, every)
    assert model.SerializeToString() == before


def test_a_table_that_nobody_reads_any_more_is_dropped() -> None:
    model = tied()
    del model.graph.node[1]
    untie(model, every)
    assert [item.name for item in model.graph.initializer] == ["turned"]


@pytest.mark.parametrize("unwanted", ["Gather", "MatMul"])
def test_both_must_be_wanted(unwanted: str) -> None:
    model = tied()
    before = model.SerializeToString()
    untie(model, lambda node: node.op_type != unwanted)
    assert model.SerializeToString() == before


def test_a_table_that_callers_can_give_stays() -> None:
    model = tied()
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("table", onnx.TensorProto.FLOAT, [5, 3])
    )
    before = model.SerializeToString()
    untie(model, every)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"precision": "int8"}, {"vector": "int8", "logits": "int8"}),
        ({"precision": "int8", "keep": ["vector"]}, None),
        ({"precision": "int8", "layers": {"logits": "int8-dynamic"}}, None),
        ({"precision": "int8-dynamic"}, None),
        ({"precision": "fp16"}, None),
    ],
)
def test_a_quantized_file_unties_only_what_becomes_smaller(
    options: dict[str, Any], layers: dict[str, str] | None, tmp_path: Path
) -> None:
    """``None``: a table of its own for each would be larger, so the model stays as it was."""
    path = tmp_path / "tied.onnx"
    head = helper.make_node("MatMul", ["logits", "w"], ["y"])
    model = tied(head, sizes={"y": ["n", 2]})
    onnx.save(model, path)
    data = {"x": np.arange(200, dtype=np.float32) % 5}
    ranges = calibrate(path, [data], load=partial(load, target="cpu", threads=1))
    made = quantize(path, tmp_path / "small.onnx", ranges=ranges, load=None, **options)
    found = onnx.load(tmp_path / "small.onnx")
    transposed = "Transpose" in operators(found)
    assert transposed is (layers is None)
    assert {name: made.metadata.layers[name] for name in layers or ()} == (layers or {})
