"""DTLN's two halves come in with states of their own, and go through every stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers.foreign import dtln
from helpers.onnx_cells import inferred, prepared

import edgernn
from edgernn.metadata import Metadata
from edgernn_exporters.onnx_files import save_model

STEPS = 1000
STATES = {"model_1.onnx": ("lstm_4", "lstm_5"), "model_2.onnx": ("lstm_6", "lstm_7")}
FILES = pytest.mark.parametrize("name", STATES)


def imported(name: str, folder: Path) -> Path:
    changed, contract, _ = inferred(prepared(dtln(name)))
    path = folder / name
    save_model(changed, Metadata(contract=contract), path)
    return path


def frames(name: str, steps: int, batch: int = 1) -> np.ndarray:
    width = 257 if name == "model_1.onnx" else 512
    x = np.random.default_rng(0).standard_normal((batch, steps, width)).astype(np.float32)
    return np.abs(x) if name == "model_1.onnx" else x / 10


def original(name: str, x: np.ndarray) -> np.ndarray:
    """Stream the original file with its packed state, row by row."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(dtln(name), options, ["CPUExecutionProvider"])
    (signal, packed), rows = (node.name for node in session.get_inputs()), []
    for row in x:
        state, steps = np.zeros((1, 2, 128, 2), np.float32), []
        for frame in row[:, None, None]:
            y, state = session.run(None, {signal: frame, packed: state})
            steps.append(y[0])
        rows.append(np.concatenate(steps))
    return np.stack(rows)


@FILES
def test_each_layer_has_its_states_and_the_axes_are_dynamic(name: str) -> None:
    changed, contract, notes = inferred(prepared(dtln(name)))
    assert contract is not None
    assert contract.stream.causal
    names = [f"{layer}.{state}" for layer in STATES[name] for state in "hc"]
    assert [state.input for state in contract.states] == names
    assert [state.output for state in contract.states] == [f"{state}.next" for state in names]
    layers = [node for node in changed.graph.node if node.op_type == "LSTM"]
    assert [list(node.input[5:7]) for node in layers] == [names[:2], names[2:]]
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*changed.graph.input, *changed.graph.output)
    }
    assert all(shapes[state] == [1, "batch", 128] for state in names)
    assert shapes[changed.graph.input[0].name][:2] == ["batch", "time"]
    assert shapes[changed.graph.output[0].name][:2] == ["batch", "time"]
    assert len(notes.pieces) == 4
    packed = np.arange(512).reshape(1, 2, 128, 2)
    for piece, part in zip(notes.pieces, np.ndindex(2, 2), strict=True):
        np.testing.assert_array_equal(piece.index, packed[:, part[0], None, :, part[1]])
        np.testing.assert_array_equal(piece.output_index, piece.index)


@FILES
def test_streamed_and_whole_equal_the_original(name: str, tmp_path: Path) -> None:
    session = edgernn.load(imported(name, tmp_path), target="cpu", threads=1)
    x = frames(name, STEPS)
    want = original(name, x)
    stream = session.stream()
    streamed = np.concatenate([stream.step(x[:, t : t + 1]) for t in range(STEPS)], axis=1)
    np.testing.assert_allclose(streamed, want, rtol=0, atol=1e-5)
    (output,) = session.run({session.inputs[0].name: x}).values()
    np.testing.assert_allclose(output, want, rtol=0, atol=1e-5)
    rows = frames(name, 20, batch=3)
    (output,) = session.run({session.inputs[0].name: rows}).values()
    np.testing.assert_allclose(output, original(name, rows), rtol=0, atol=1e-5)


@pytest.mark.slow
@FILES
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8"])
def test_it_can_be_quantized(name: str, precision: str, tmp_path: Path) -> None:
    path = imported(name, tmp_path)
    session = edgernn.load(path, target="cpu", threads=1)
    signal, samples = session.inputs[0].name, {}
    x = frames(name, 120, batch=4)
    if precision == "int8":
        np.savez(tmp_path / "calibration.npz", **{signal: x})
        samples = {"calibration": tmp_path / "calibration.npz"}
    small = tmp_path / "small.onnx"
    edgernn.quantize(path, small, precision=precision, **samples)
    quantized = edgernn.load(small, target="cpu", threads=1)
    assert {quantized.metadata.layers[layer] for layer in STATES[name]} == {precision}
    if precision == "int8":
        assert {spec.dtype for spec in quantized.states} == {"int16"}
    (want,), (got,) = (s.run({signal: x}).values() for s in (session, quantized))
    assert np.abs(got - want).max() < 0.1 * max(1.0, np.abs(want).max())


@pytest.mark.slow
@FILES
def test_native_equals_the_original(name: str, tmp_path: Path) -> None:
    session = edgernn.load(imported(name, tmp_path), target="native")
    x = frames(name, STEPS)
    want = original(name, x)
    stream = session.stream()
    streamed = np.concatenate([stream.step(x[:, t : t + 1]) for t in range(STEPS)], axis=1)
    np.testing.assert_allclose(streamed, want, rtol=0, atol=1e-5)
    (output,) = session.run({session.inputs[0].name: x}).values()
    np.testing.assert_allclose(output, want, rtol=0, atol=1e-5)
