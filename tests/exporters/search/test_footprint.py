from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.models import write_model
from onnx import TensorProto, helper, numpy_helper

from edgernn_exporters.codegen import emit
from edgernn_exporters.quantization import quantize
from edgernn_exporters.search.footprint import footprint, tensor_bytes, weight_bytes


@pytest.mark.parametrize("target", ["native", "cortex-m4"])
def test_sizes_are_those_of_the_generated_project(tmp_path: Path, target: str) -> None:
    path = write_model(tmp_path / "m.onnx", layers=2)
    quantize(path, tmp_path / "q.onnx", precision="int8-dynamic", load=None)
    for file in (path, tmp_path / "q.onnx"):
        project = emit(file, target=target).project
        found = footprint(file, target)
        assert found.flash_bytes == project.weight_bytes
        assert found.ram_bytes == project.state_bytes + project.scratch_bytes
        assert found.note == ""


def test_a_model_without_a_c_form_takes_its_constants_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(
        [helper.make_node("Sort", ["x", "w"], ["y"], domain="other")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.ones((5, 7), np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("other", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    found = footprint(path, "native")
    assert (found.weight_bytes, found.flash_bytes, found.ram_bytes) == (140, 140, None)
    assert "not compiled to C" in found.note
    assert str(tmp_path) not in found.note


@pytest.mark.parametrize(
    ("kind", "dims", "expected"),
    [(TensorProto.FLOAT, (3, 5), 60), (TensorProto.UINT8, (3, 5), 15),
     (TensorProto.UINT4, (3, 5), 8), (TensorProto.INT64, (2,), 16),
     (TensorProto.FLOAT16, (), 2), (TensorProto.INT16, (0, 4), 0)],
)  # fmt: skip
def test_the_size_of_one_constant(kind: int, dims: tuple[int, ...], expected: int) -> None:
    assert tensor_bytes(onnx.TensorProto(data_type=kind, dims=dims)) == expected


def test_constants_add_up(tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    raw = sum(numpy_helper.to_array(item).nbytes for item in model.graph.initializer)
    assert weight_bytes(model) == raw
