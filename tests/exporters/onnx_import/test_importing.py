"""Whole imports: what comes out computes the same, streams, quantizes and compiles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.foreign import (
    INT64,
    NODE,
    dtln,
    foreign,
    imported,
    lstm_model,
    runtimes,
    save,
    value,
    voice_model,
)
from helpers.graphs import normal, run_onnx, tensor
from onnx import TensorProto, helper

import edgernn
from edgernn import api
from edgernn.errors import AccuracyGateError, InputError, ModelError, UsageError
from edgernn.files import sha256_of
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.onnx_import import importing, normalizing
from edgernn_exporters.onnx_import.comparing import TOLERANCE
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.proof import Runtimes

X = normal(0, 20, 2, 4)


def whole_and_steps_agree(path: Path, inputs: dict[str, Any]) -> None:
    session = edgernn.load(path, "cpu", threads=1)
    whole = session.run(inputs)
    for chunk in (1, 7):
        pieces = edgernn.streaming.run_in_chunks(session, inputs, chunk)
        for name, want in whole.items():
            np.testing.assert_allclose(pieces[name], want, atol=1e-5)


@pytest.mark.parametrize(("opset", "ir_version"), [(9, 3), (11, 6), (17, 8), (21, 10), (23, 14)])
def test_an_lstm_of_any_age_streams(opset: int, ir_version: int, tmp_path: Path) -> None:
    path = save(lstm_model(opset=opset, ir_version=ir_version, listed=ir_version == 3), tmp_path)
    result = imported(path)
    contract = result.metadata.contract
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [
        ("h", "hn", 1), ("c", "cn", 1),
    ]  # fmt: skip
    assert contract.stream.causal
    assert result.metadata.parent == sha256_of(path)
    assert result.metadata.gate == {
        "cases": result.proof.cases, "max_error": result.proof.max_error, "tolerance": TOLERANCE,
        "steps": 1000, "against": "onnxruntime",
    }  # fmt: skip
    _, metadata = read_model(result.path)
    assert metadata == result.metadata
    assert metadata.unproven is None
    whole_and_steps_agree(result.path, {"x": X})
    folder = tmp_path / "c"
    api.compile(result.path, folder)
    small = tmp_path / "small.onnx"
    edgernn.quantize(result.path, small)
    want = edgernn.load(result.path, "cpu").run({"x": X})["y"]
    np.testing.assert_allclose(edgernn.load(small, "cpu").run({"x": X})["y"], want, atol=0.1)
    np.testing.assert_allclose(
        edgernn.load(result.path, "native").run({"x": X})["y"], want, atol=1e-5
    )


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_voice_detector(rate: int, tmp_path: Path) -> None:
    """An ``If`` on the sample rate disappears, and the stacked state is fed back."""
    result = imported(save(voice_model(), tmp_path), fix={"sr": rate})
    model, metadata = read_model(result.path)
    operators = [node.op_type for node in model.graph.node]
    assert "If" not in operators
    assert operators.count("LSTM") == 1
    assert metadata.contract is not None
    assert metadata.contract.states
    assert result.proof.max_error <= TOLERANCE


@pytest.mark.parametrize("name", ["model_1.onnx", "model_2.onnx"])
def test_dtln(name: str, tmp_path: Path) -> None:
    """Both stream, quantize and compile, and equal the original over 1000 steps."""
    source, clean = dtln(name), tmp_path / "clean.onnx"
    result = edgernn.import_onnx(source, clean)
    assert result.proof.steps == 1000
    assert result.proof.max_error <= 1e-5
    contract = result.metadata.contract
    assert contract is not None
    assert contract.stream.causal
    assert len(contract.states) == 4
    session = edgernn.load(clean, "cpu", threads=1)
    (x,) = session.inputs
    rng = np.random.default_rng(0)
    stream, native = session.stream(), edgernn.load(clean, "native").stream()
    small = tmp_path / "small.onnx"
    edgernn.quantize(clean, small)
    quantized = edgernn.load(small, "cpu").stream()
    for _ in range(20):
        frame = {x.name: rng.standard_normal((1, 1, x.shape[2])).astype(np.float32)}
        want = stream.step(frame[x.name])
        np.testing.assert_allclose(native.step(frame[x.name]), want, atol=1e-4)
        np.testing.assert_allclose(quantized.step(frame[x.name]), want, atol=0.5)


def test_functions_sparse_and_constant_expressions(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17)]
    body = [NODE("Transpose", ["w"], ["t"], perm=[0, 2, 1]),
            NODE("GRU", ["x", "t", "r"], ["y", "h"], hidden_size=3)]  # fmt: skip
    layer = helper.make_function("mine", "layer", ["x", "w", "r"], ["y", "h"], body, imports)
    model = foreign(
        [NODE("layer", ["x", "w", "r"], ["y", "h"], domain="mine")],
        [value("x", ["time", "batch", 4])],
        [value("y", ["time", 1, "batch", 3]), value("h", [1, "batch", 3])],
        [tensor("w", normal(0, 1, 4, 9)), tensor("r", normal(1, 1, 9, 3))], functions=[layer],
    )  # fmt: skip
    model.opset_import.append(helper.make_opsetid("mine", 1))
    result = imported(save(model, tmp_path))
    clean, metadata = read_model(result.path)
    assert not clean.functions
    assert "Transpose" not in [node.op_type for node in clean.graph.node]
    assert metadata.contract is not None
    whole_and_steps_agree(result.path, {"x": X})


def test_the_batch_first_is_proven_by_the_reference(tmp_path: Path) -> None:
    model = lstm_model()
    for spec, order in ((model.graph.input[0], (1, 0, 2)), (model.graph.output[0], (2, 0, 1, 3))):
        dims = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString())
                for d in spec.type.tensor_type.shape.dim]  # fmt: skip
        for place, source in enumerate(order):
            spec.type.tensor_type.shape.dim[place].CopyFrom(dims[source])
    for spec in (*model.graph.input[1:], *model.graph.output[1:]):
        dims = spec.type.tensor_type.shape.dim
        dims[0].dim_param, dims[1].dim_value = "batch", 1
    model.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    result = imported(save(model, tmp_path))
    assert result.proof.against == "onnx.reference"
    assert any("ONNX's reference did" in note for note in result.described.notes)
    assert result.metadata.contract is not None
    with_clip = onnx.ModelProto()
    with_clip.CopyFrom(model)
    with_clip.graph.node[0].attribute.append(helper.make_attribute("clip", 1.0))
    path = save(with_clip, tmp_path, "clip.onnx")
    with pytest.raises(AccuracyGateError, match="lengths, activations or clip"):
        imported(path)
    assert imported(path, gate=False).metadata.unproven == "imported with --no-gate"


def test_the_proof_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a step does wrong, nothing is written."""
    path, clean = save(lstm_model(), tmp_path), tmp_path / "clean.onnx"

    def spoiled(change: Callable[[onnx.ModelProto], None]) -> str:
        def recognise(model: onnx.ModelProto, notes: Notes) -> onnx.ModelProto:
            change(model)
            return model

        monkeypatch.setattr(normalizing, "recognise", recognise)
        with pytest.raises(AccuracyGateError) as caught:
            importing.import_onnx(path, clean, runtimes=runtimes())
        assert not clean.exists()
        return str(caught.value)

    def bias(model: onnx.ModelProto) -> None:
        b = next(t for t in model.graph.initializer if t.name == "B")
        b.CopyFrom(tensor("B", onnx.numpy_helper.to_array(b) + np.float32(1e-3)))

    def swapped(model: onnx.ModelProto) -> None:
        model.graph.node[0].output[1:] = ["cn", "hn"]

    assert "differs from the original (random inputs x [1, 1, 4]" in spoiled(bias)
    assert "is off by" in spoiled(swapped)


def test_states_that_are_fed_back_wrongly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that crosses two states is caught by the long run."""
    real = normalizing.infer

    def crossed(model: onnx.ModelProto, given: Any, notes: Notes, **options: Any) -> Any:
        changed, contract = real(model, given, notes, **options)
        assert contract is not None
        first, second = contract.states
        states = (replace(first, output=second.output), replace(second, output=first.output))
        return changed, replace(contract, states=states)

    monkeypatch.setattr(normalizing, "infer", crossed)
    path = save(lstm_model(), tmp_path)
    with pytest.raises(AccuracyGateError, match="1000 calls with states fed back"):
        importing.import_onnx(path, tmp_path / "clean.onnx", runtimes=runtimes())
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_given_inputs(tmp_path: Path) -> None:
    path = save(lstm_model(), tmp_path)
    states = {"h": normal(1, 1, 2, 8), "c": normal(2, 1, 2, 8)}
    plain = imported(path).proof.cases
    assert imported(path, inputs={"x": X, **states}).proof.cases > plain
    assert imported(path, inputs={"x": X}).proof.cases > plain
    with pytest.raises(InputError, match=r"--inputs has \['z'\], but the original takes"):
        imported(path, inputs={"z": X})
    with pytest.raises(InputError, match="does not take the given inputs"):
        imported(path, inputs={"x": normal(0, 20, 2, 5)})


def test_small_integers_are_drawn_for_ids(tmp_path: Path) -> None:
    nodes = [NODE("Gather", ["table", "ids"], ["x"]),
             NODE("GRU", ["x", "W", "R"], ["y"], hidden_size=3)]  # fmt: skip
    tensors = [tensor("table", normal(0, 2, 4)), tensor("W", normal(1, 1, 9, 4)),
               tensor("R", normal(2, 1, 9, 3))]  # fmt: skip
    model = foreign(nodes, [value("ids", ["T", "N"], INT64)], [value("y", ["T", 1, "N", 3])],
                    tensors)  # fmt: skip
    result = imported(save(model, tmp_path))
    assert result.proof.cases
    assert result.metadata.contract is not None


def test_shapes_that_only_inference_knows(tmp_path: Path) -> None:
    model = lstm_model()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = imported(save(model, tmp_path))
    clean, _ = read_model(result.path)
    assert len(clean.graph.output[0].type.tensor_type.shape.dim) == 4
    nodes = [NODE("Reshape", ["x", "s"], ["y"])]
    open_ = foreign(nodes, [value("x", ["n"]), value("s", ["k"], INT64)], [value("y", None)])
    with pytest.raises(ModelError, match="number of axes of output 'y' cannot be inferred"):
        imported(save(open_, tmp_path, "open.onnx"))


def test_hostile_names_compile_to_valid_c(tmp_path: Path) -> None:
    names = {
        "x": 'x"); system("rm -rf /"); //', "h": "h */ int main(void) { return 1; } /*",
        "c": "c\n#include </etc/passwd>\n", "y": "y??/\\", "hn": "int", "cn": "%s%n" * 50,
        "W": "W\x00nul", "R": "R'\"`$(id)", "B": "\u202e\u0000B", "lstm": "\"; #error\n*/",
    }  # fmt: skip
    model = lstm_model()
    for node in model.graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for entry in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        entry.name = names[entry.name]
    model.graph.name = 'graph"*/'
    model.doc_string = "*/ #error"
    result = imported(save(model, tmp_path))
    session, native = edgernn.load(result.path, "cpu"), edgernn.load(result.path, "native")
    want = session.run({names["x"]: X})
    for name, got in native.run({names["x"]: X}).items():
        np.testing.assert_allclose(got, want[name], atol=1e-5)
    api.compile(result.path, tmp_path / "c", name="model")
    for file in (tmp_path / "c" / "model.c", tmp_path / "c" / "model.h"):
        code = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        for text in ("system(", "/etc/passwd", "#error", "$(", "main("):
            assert text not in code


def test_what_is_refused(tmp_path: Path) -> None:
    path = save(lstm_model(), tmp_path)
    with pytest.raises(UsageError, match="is the original itself"):
        api.import_onnx(path, path)
    with pytest.raises(UsageError, match="the model has no such input or axis"):
        imported(path, fix={"rate": 1})
    relu = foreign([NODE("Relu", ["x"], ["y"])], [value("x", ["n"])], [value("y", ["n"])])
    with pytest.raises(ModelError, match="no output depends on an input any more"):
        imported(save(relu, tmp_path, "relu.onnx"), fix={"n": 2, "x": 1})
    with pytest.raises(UsageError, match="was not confirmed, so nothing was written"):
        imported(path, confirm=lambda described: False)
    small = tmp_path / "small.onnx"
    edgernn.quantize(path, small)
    with pytest.raises(ModelError, match="has precision int8-dynamic already"):
        imported(small)
    text = foreign([NODE("Identity", ["x"], ["y"])], [value("x", [2], TensorProto.STRING)],
                   [value("y", [2], TensorProto.STRING)])  # fmt: skip
    with pytest.raises(ModelError, match="'x' is not a tensor of numbers"):
        imported(save(text, tmp_path, "text.onnx"))


def test_an_import_can_be_imported_again(tmp_path: Path) -> None:
    """With another fix, and with what the file says of its task."""
    once = imported(save(lstm_model(), tmp_path))
    again = imported(once.path, fix={"batch": 1})
    assert [spec.shape for spec in again.described.inputs] == [("time", 1, 4)]
    assert again.metadata.parent == sha256_of(once.path)
    props = {p.key: p.value for p in onnx.load(again.path).metadata_props}
    assert json.loads(props["edgernn.gate"])["cases"] == again.proof.cases


def test_what_the_reference_cannot_run_either(tmp_path: Path) -> None:
    def refusing(path: Path) -> Any:
        raise ModelError(f"{path}: no")

    given = Runtimes(plain=refusing, load=runtimes().load)
    nodes = [NODE("LpPool", ["x"], ["p"], kernel_shape=[2]), NODE("Relu", ["p"], ["y"])]
    model = foreign(nodes, [value("x", [1, 2, 4])], [value("y", [1, 2, 3])])
    assert run_onnx(model, {"x": normal(0, 1, 2, 4)})
    with pytest.raises(AccuracyGateError):
        importing.import_onnx(save(model, tmp_path), tmp_path / "c.onnx", runtimes=given)
