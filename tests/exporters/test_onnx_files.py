from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, tensor
from helpers.models import write_model
from onnx import helper

from edgernn.errors import EdgernnError, ModelError
from edgernn.metadata import Metadata
from edgernn_exporters.onnx_files import add_gate, read_model, save_model


def test_a_model_is_written_and_read_back(tmp_path: Path) -> None:
    model, metadata = read_model(write_model(tmp_path / "a.onnx", task="keywords"))
    model.metadata_props.add(key="author", value="someone")
    save_model(model, metadata, tmp_path / "b.onnx")
    again, read = read_model(tmp_path / "b.onnx")
    assert read == metadata
    assert {p.key for p in again.metadata_props} >= {"author", "edgernn.task", "edgernn.state"}
    save_model(model, Metadata(), tmp_path / "b.onnx")
    assert read_model(tmp_path / "b.onnx")[1] == Metadata()


def test_traces_of_the_machine_are_removed_at_every_depth(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("t", 1, ["n"])
    inner = helper.make_node("Neg", ["x"], ["t"], doc_string="/home/me/inner.py")
    inner.metadata_props.add(key="trace", value="/home/me/inner.py")
    body = helper.make_graph([inner], "body", [], [value], doc_string="/home/me/body.py")
    node = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    model = make_model([node], {"x": ["n"]}, {"y": ["n"]}, [tensor("yes", np.array(True))])
    model.doc_string = model.graph.doc_string = node.doc_string = "/home/me/model.py"
    model.graph.metadata_props.add(key="trace", value="/home/me/graph.py")
    model.graph.input[0].doc_string = "/home/me/input.py"
    save_model(model, Metadata(), tmp_path / "a.onnx")
    assert b"/home/me" not in (tmp_path / "a.onnx").read_bytes()
    onnx.checker.check_model(onnx.load(tmp_path / "a.onnx"), full_check=True)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_cut_off_file_is_a_model_error_of_one_line(tmp_path: Path, share: float) -> None:
    content = write_model(tmp_path / "a.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(EdgernnError, match=r"cut\.onnx: ") as caught:
        read_model(path)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"hello world\n", b"\x80\x04pickle", b"PK\x03\x04", b"\0" * 99]
)
def test_other_files_are_model_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: .*again"):
        read_model(tmp_path / "a.onnx")


def test_missing_files_folders_and_invalid_graphs_are_model_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: no such file"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read: is a directory"):
        read_model(tmp_path)
    model = onnx.load(write_model(tmp_path / "a.onnx"))
    model.graph.node[0].input[0] = "nothing"
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="not a valid ONNX model: "):
        read_model(tmp_path / "a.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/passwd"])
def test_weights_in_another_file_are_refused(tmp_path: Path, location: str) -> None:
    model = onnx.load(write_model(tmp_path / "a.onnx"))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="in another file, which is not read; bring both"):
        read_model(tmp_path / "a.onnx")


def test_a_gate_is_added_without_reading_the_file(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    before, metadata = read_model(path)
    save_model(before, replace(metadata, gate=None), path)
    add_gate(path, {"cases": 3})
    after, found = read_model(path)
    assert found == replace(metadata, gate={"cases": 3})
    assert after.graph == before.graph
