from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import draw_parameters, make_model, tensor
from helpers.models import write_model
from onnx import helper

from edgernn.errors import ContractError, ModelError
from edgernn.files import sha256_of
from edgernn_exporters.codegen import compile
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


def test_layers_within_bodies_are_described(tmp_path: Path) -> None:
    parameters = draw_parameters("gru", inputs=3, hidden=4)
    text = """y = Scan <num_scan_inputs = 1, body = b (float[1, 1, 4] h, float[2, 1, 3] x_t) => (
        float[1, 1, 4] h_new) {
        h_new = If <
            then_branch = yes () => (float[1, 1, 4] a) { none, a = GRU (x_t, W, R, "", "", h) },
            else_branch = no () => (float[1, 1, 4] b) { b = Identity (h) }
        > (going)
    }> (start, x)"""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{text}}}").node)
    nodes[0].name = "cell"
    for attribute in next(a for a in nodes[0].attribute if a.name == "body").g.node[0].attribute:
        if attribute.name == "then_branch":
            attribute.g.node[0].attribute.append(helper.make_attribute("hidden_size", 4))
    initializers = [tensor("W", parameters.w), tensor("R", parameters.r), tensor("going", True),
                    tensor("start", np.zeros((1, 1, 4), np.float32))]  # fmt: skip
    model = make_model(nodes, {"x": [5, 2, 1, 3]}, {"y": [1, 1, 4]}, initializers)
    onnx.save(model, tmp_path / "a.onnx")
    (layer,) = inspect(tmp_path / "a.onnx").layers
    assert layer.within == "cell.body/h_new.then_branch"
    assert (layer.operator, layer.input_size, layer.hidden_size) == ("GRU", 3, 4)
    assert layer.weight_bytes == 4 * 12 * (3 + 4)


def test_sparse_constants_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    model = make_model(nodes, {"x": [4], "w": [4]}, {"y": [4]})
    del model.graph.input[1]
    values, indices = tensor("w", np.ones(1, np.float32)), tensor("", np.array([2]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    path = tmp_path / "a.onnx"
    onnx.save(model, path)
    for verb in (
        lambda: inspect(path),
        lambda: quantize(path, tmp_path / "b.onnx", load=None),
        lambda: compile(path, tmp_path / "c"),
    ):
        with pytest.raises(ModelError, match=r"a\.onnx: holds the sparse constant 'w'.* import"):
            verb()
