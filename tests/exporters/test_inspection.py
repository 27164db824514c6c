from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from helpers.graphs import make_model
from helpers.models import write_model
from onnx import helper

from edgernn.errors import ContractError, ModelError
from edgernn.files import sha256_of
from edgernn_exporters.inspection import inspect
from edgernn_exporters.quantization import quantize


def test_a_float_model_is_described(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx", cell="lstm", layers=2, bidirectional=True)
    seen = inspect(path)
    assert [str(spec) for spec in (*seen.inputs, *seen.outputs)] == [
        "x float32 [batch, time, 8]", "y float32 [batch, time, 4]"
    ]  # fmt: skip
    assert [spec.name for spec in seen.states] == ["h_l0", "c_l0", "h_l1", "c_l1"]
    assert [(item.operator, item.input_size, item.hidden_size) for item in seen.layers] == [
        ("LSTM", 8, 16), ("LSTM", 32, 16)
    ]  # fmt: skip
    assert seen.layers[0].attributes == {"hidden_size": 16, "direction": "bidirectional"}
    assert seen.names == (*(layer.name for layer in seen.layers), "matmul_8")
    assert seen.layers[0].weight_bytes == 4 * 2 * 64 * (8 + 16 + 2)
    assert seen.operators["LSTM"] == 2
    assert (seen.opset, seen.bytes, seen.sha256) == (21, path.stat().st_size, sha256_of(path))
    assert seen.parameters == 2 * 64 * (8 + 16 + 2) + 2 * 64 * (32 + 16 + 2) + 32 * 4 + 4
    assert json.loads(json.dumps(seen.to_json()))["metadata"]["precision"] == "float32"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_quantized_model_is_described(tmp_path: Path, cell: str) -> None:
    source = write_model(tmp_path / "a.onnx", cell=cell, bidirectional=True)
    quantize(source, tmp_path / "b.onnx", load=None)
    seen = inspect(tmp_path / "b.onnx")
    assert [(item.input_size, item.hidden_size) for item in seen.layers] == [(8, 16), (8, 16)]
    assert [item.attributes for item in seen.layers] == [{}, {"reverse": [1]}]
    assert seen.metadata.parent == sha256_of(source)
    assert sum(item.weight_bytes for item in seen.layers) < 0.5 * sum(
        item.weight_bytes for item in inspect(source).layers
    )
    json.dumps(seen.to_json())


def test_a_model_without_contract_is_described(tmp_path: Path) -> None:
    seen = inspect(write_model(tmp_path / "a.onnx", contract=False))
    assert [spec.name for spec in seen.inputs] == ["x", "h_l0"]
    assert seen.states == ()
    foreign = helper.make_node("LSTM", ["x"], ["y"], domain="other")
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n"]}, {"y": ["n"]})
    model.graph.node[0].CopyFrom(foreign)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("other", 1))
    onnx.save(model, tmp_path / "b.onnx")
    assert (inspect(tmp_path / "b.onnx").layers, inspect(tmp_path / "b.onnx").opset) == ((), 0)


def test_contradictions_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if t.name.startswith("R_"))
    weight.dims[:] = [48, 16]
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"shape \[48, 16\], which is not of the rank"):
        inspect(path)
    model = onnx.load(write_model(path))
    prop = next(p for p in model.metadata_props if p.key == "edgernn.state")
    prop.value = prop.value.replace("h_l0_next", "gone")
    onnx.save(model, path)
    with pytest.raises(ContractError, match="names output 'gone'"):
        inspect(path)
