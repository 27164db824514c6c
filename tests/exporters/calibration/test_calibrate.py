from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.graphs import (
    Floats,
    Parameters,
    draw_parameters,
    make_model,
    normal,
    recurrent_model,
    run_onnx,
    tensor,
)
from helpers.models import write_model
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgernn import reference
from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.errors import InputError, ModelError, UsageError
from edgernn.metadata import Metadata
from edgernn_exporters.calibration import METHODS, calibrate, capture
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def of_direction(parameters: Parameters, d: int) -> Parameters:
    assert parameters.b is not None
    return Parameters(parameters.w[d : d + 1], parameters.r[d : d + 1], parameters.b[d : d + 1])


def largest_cell_by_steps(parameters: Parameters, feeds: dict[str, Floats]) -> float:
    """Run one direction in ONNX Runtime, a step at a time."""
    model = recurrent_model("lstm", parameters).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    h, c = feeds["h"], feeds["c"]
    largest = float(np.abs(c).max())
    for x in feeds["x"]:
        h, c = session.run(["hk", "ck"], {"x": x[None], "h": h, "c": c})
        largest = max(largest, float(np.abs(c).max()))
    return largest


@given(
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    batch=st.integers(1, 3),
    steps=st.integers(100, 130),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 6),
    scale=st.floats(0.3, 6),
    start=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_the_range_of_the_cell_state_is_that_of_single_steps(
    tmp_path_factory: pytest.TempPathFactory,
    direction: str,
    batch: int,
    steps: int,
    inputs: int,
    hidden: int,
    scale: float,
    start: float,
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    parameters = draw_parameters(
        "lstm", inputs=inputs, hidden=hidden, directions=directions, scale=scale, seed=steps
    )
    model = recurrent_model("lstm", parameters, direction=direction)
    path = save(model, tmp_path_factory.mktemp("cell"))
    feeds = {"x": normal(1, steps, batch, inputs)} | {
        name: normal(place, directions, batch, hidden, scale=start)
        for place, name in enumerate("hc")
    }
    found = calibrate(path, [feeds], method="minmax", load=open_cpu).of("cell")
    reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    want = [
        largest_cell_by_steps(
            of_direction(parameters, d),
            {"x": feeds["x"][:: -1 if back else 1], "h": feeds["h"][d : d + 1],
             "c": feeds["c"][d : d + 1]},
        )
        for d, back in enumerate(reverse)
    ]  # fmt: skip
    np.testing.assert_allclose(found.largest_cell, want, rtol=1e-4)
    np.testing.assert_array_equal(found.low, feeds["x"].min((0, 1)))
    np.testing.assert_array_equal(found.high, feeds["x"].max((0, 1)))


class _Recorder:
    """Gates of the reference that note their arguments: the pre-activations."""

    def __init__(self) -> None:
        self.seen: list[Floats] = []
        exact = reference.EXACT
        self.gates = reference.Gates(
            lstm=lambda i, o, f, g, c: (self.note(i, o, f, g), exact.lstm(i, o, f, g, c))[1],
            reset=lambda r, s: (self.note(r), exact.reset(r, s))[1],
            update=lambda z, a, h: (self.note(z, a), exact.update(z, a, h))[1],
            tanh=exact.tanh,
        )

    def note(self, *values: Floats) -> None:
        self.seen += values

    def rnn(self, a: Floats) -> Floats:
        self.note(a)
        return np.tanh(a)

    def share(self) -> float:
        return float(np.mean(np.abs(np.concatenate(self.seen, axis=-1)) > 32767 / 4096))


@pytest.mark.parametrize(
    ("cell", "attributes"),
    [
        ("lstm", {}),
        ("gru", {"linear_before_reset": 1}),
        ("gru", {"linear_before_reset": 0}),
        ("rnn", {}),
    ],
)
def test_the_share_of_saturated_pre_activations_is_that_of_the_reference(
    tmp_path: Path, cell: str, attributes: dict[str, int]
) -> None:
    parameters = draw_parameters(cell, inputs=3, hidden=6, scale=8, seed=4)
    path = save(recurrent_model(cell, parameters, states=False, **attributes), tmp_path)
    x = normal(5, 120, 2, 3)
    assert parameters.b is not None
    weights = reference.float_weights(parameters.w[0], parameters.r[0], parameters.b[0])
    recorder, zeros = _Recorder(), np.zeros((2, 6), np.float32)
    if cell == "lstm":
        reference.lstm(x, weights, zeros, zeros, gates=recorder.gates)
    elif cell == "gru":
        form = bool(attributes["linear_before_reset"])
        reference.gru(x, weights, zeros, linear_before_reset=form, gates=recorder.gates)
    else:
        reference.rnn(x, weights, zeros, activation=recorder.rnn)
    found = calibrate(path, [{"x": x}], load=open_cpu).saturation["cell"]
    assert 0.01 < recorder.share() < 0.9
    assert found["pre_activation"] == pytest.approx(recorder.share(), abs=0.005)


def test_the_state_of_a_relu_rnn_is_measured_over_all_steps(tmp_path: Path) -> None:
    parameters = draw_parameters("rnn", inputs=3, hidden=5, directions=2, seed=7)
    model = recurrent_model(
        "rnn", parameters, states=False, direction="bidirectional", activations=["Relu", "Relu"]
    )
    x = normal(8, 150, 2, 3)
    found = calibrate(save(model, tmp_path), [{"x": x}], load=open_cpu).of("cell")
    y = run_onnx(model, {"x": x})["y"]
    np.testing.assert_allclose(found.largest_state, y.max(axis=(0, 2, 3)))
    assert found.largest_cell == ()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_neither_chunks_nor_batches_change_the_ranges(
    tmp_path: Path, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "a.onnx", cell=cell, layers=2)
    long = normal(1, 3, 300, 8, scale=2)
    whole = calibrate(path, [{"x": long}], method="minmax", load=open_cpu)
    monkeypatch.setattr(capture, "CHUNK", 37)
    for sequences in ([{"x": long}], [{"x": row[None]} for row in long]):
        got = calibrate(path, sequences, method="minmax", load=open_cpu)
        assert (got.sequences, got.steps) == (whole.sequences, whole.steps) == (3, 900)
        assert list(got.layers) == list(whole.layers)
        assert len(got.layers) == 3
        for name, layer in got.layers.items():
            for key in ("low", "high", "largest_cell"):
                want = getattr(whole.of(name), key)
                np.testing.assert_allclose(getattr(layer, key), want, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_sequences_of_different_lengths_each_start_at_the_initial_state(
    tmp_path: Path, bidirectional: bool
) -> None:
    path = write_model(tmp_path / "a.onnx", cell="gru", layers=2, bidirectional=bidirectional)
    sequences = [{"x": normal(n, 1, n, 8)} for n in (60, 2, 45)]
    together = calibrate(path, sequences, method="minmax", load=open_cpu)
    lows = [
        calibrate(path, [item] * 120, method="minmax", load=open_cpu).layers for item in sequences
    ]
    for name, layer in together.layers.items():
        np.testing.assert_allclose(
            layer.low, np.min([part[name].low for part in lows], axis=0), atol=1e-5
        )
    assert (together.sequences, together.steps) == (3, 107)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("cell", "activation"), [("lstm", ""), ("gru", ""), ("rnn", "Relu")])
def test_steps_beyond_the_length_of_a_row_do_not_count(
    tmp_path: Path, cell: str, activation: str, method: str
) -> None:
    parameters = draw_parameters(cell, inputs=3, hidden=4, directions=2, seed=2)
    attributes: dict[str, Any] = {"activations": [activation] * 2} if activation else {}
    x, lengths = normal(3, 120, 3, 3), np.array([120, 0, 70], np.int32)
    for row, length in enumerate(lengths):
        x[length:, row] = 1e30
    padded, cut = (
        recurrent_model(
            cell, parameters, states=False, direction="bidirectional", extra_inputs=extra,
            **attributes,
        )
        for extra in ({4: ("lens", lengths)}, None)
    )  # fmt: skip
    found = calibrate(save(padded, tmp_path), [{"x": x}], method=method, load=open_cpu)
    rows = [{"x": x[:length, row : row + 1]} for row, length in enumerate(lengths) if length]
    want = calibrate(save(cut, tmp_path), rows, method=method, load=open_cpu)
    for key in ("low", "high", "largest_cell", "largest_state"):
        got = getattr(found.of("cell"), key)
        np.testing.assert_allclose(got, getattr(want.of("cell"), key), rtol=1e-5, err_msg=key)
    assert found.saturation["cell"] == pytest.approx(want.saturation["cell"])


def test_only_valid_steps_are_counted(tmp_path: Path) -> None:
    parameters = draw_parameters("gru", inputs=3, hidden=4)
    given = {4: ("lens", np.array([1], np.int32))}
    model = recurrent_model("gru", parameters, states=False, extra_inputs=given)
    (constant,) = (item for item in model.graph.initializer if item.name == "lens")
    model.graph.initializer.remove(constant)
    model.graph.input.append(
        helper.make_tensor_value_info("lens", onnx.TensorProto.INT32, ["batch"])
    )
    stream = StreamSpec(
        causal=False, inputs={"x": Axes(1, 0), "lens": Axes(0, None)},
        outputs={"y": Axes(2, 0), "hk": Axes(1, None)}, lengths="lens",
    )  # fmt: skip
    helper.set_model_props(model, Metadata(Contract((), stream)).to_props())
    path, x = save(model, tmp_path), normal(1, 90, 2, 3)
    lengths = np.array([90, 20], np.int32)
    found = calibrate(path, [{"x": x, "lens": lengths}], load=open_cpu)
    assert (found.sequences, found.steps) == (2, 110)
    with pytest.raises(InputError, match="99"):
        calibrate(path, [{"x": x, "lens": lengths - np.int32([11, 0])}], load=open_cpu)


def test_a_convolution_has_one_range_around_zero(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1])
    model = make_model(
        [node], {"x": ["n", 2, "t"]}, {"y": ["n", 3, "t"]}, [tensor("w", normal(0, 3, 2, 3))]
    )
    x = normal(1, 4, 2, 50) - 1
    found = calibrate(save(model, tmp_path), [{"x": x}], method="minmax", load=open_cpu)
    reach = float(np.abs(x).max())
    assert found.of("conv").low == (-reach,)
    assert found.of("conv").high == (reach,)


def test_a_model_with_a_fixed_batch_takes_sequences_one_by_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_value = 1
    onnx.save(model, path)
    x = normal(1, 4, 30, 8)
    assert calibrate(path, [{"x": x}], load=open_cpu).sequences == 4


@pytest.mark.parametrize("method", METHODS)
def test_what_is_beyond_the_range_is_counted(tmp_path: Path, method: str) -> None:
    path = write_model(tmp_path / "a.onnx")
    x = normal(1, 1, 20_000, 8)
    x[0, ::5000] *= 1000
    found = calibrate(path, [{"x": x}], method=method, load=open_cpu)
    name = next(iter(found.layers))
    layer = found.of(name)
    beyond = (x < np.float32(layer.low)) | (x > np.float32(layer.high))
    assert found.saturation[name]["input"] == pytest.approx(beyond.mean(), abs=1e-6)
    assert (found.saturation[name]["input"] == 0) == (method == "minmax")


def test_the_model_file_stays_as_it_is(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    content = path.read_bytes()
    calibrate(path, [{"x": normal(1, 1, 100, 8)}], load=open_cpu)
    assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"]


def refused(path: Path, sequences: list[Any], **options: Any) -> str:
    with pytest.raises((InputError, ModelError, UsageError)) as raised:
        calibrate(path, sequences, load=open_cpu, **options)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_data_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    good, bad = {"x": normal(1, 1, 60, 8)}, normal(2, 1, 60, 8)
    assert "no calibration sequence" in refused(path, [])
    assert "60 time steps in 1 sequences" in refused(path, [good])
    bad[0, 7, 3] = np.nan
    message = refused(path, [good, {"x": bad}])
    assert message.startswith("InputError: calibration sequence 1: x holds nan at index [0, 7, 3]")
    bad[0, 7, 3] = np.inf
    assert "sequence 0: x holds inf" in refused(path, [{"x": bad}])
    assert "got shape [1, 60, 7]" in refused(path, [{"x": bad[..., :7]}])
    assert "got dtype float64" in refused(path, [{"x": normal(1, 1, 60, 8).astype(np.float64)}])
    assert "takes inputs ['x'], but ['z']" in refused(path, [{"z": good["x"]}])
    assert "got an empty array" in refused(path, [{"x": good["x"][:, :0]}])
    assert "UsageError: unknown method 'max'" in refused(path, [good], method="max")


def test_models_that_cannot_be_calibrated_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx", precision="int8-dynamic")
    sequences = [{"x": normal(1, 1, 200, 8)}]
    assert "has precision int8-dynamic already" in refused(path, sequences)
    plain = make_model([helper.make_node("Tanh", ["x"], ["y"])], {"x": ["n"]}, {"y": ["n"]})
    assert "nothing to calibrate" in refused(save(plain, tmp_path), sequences)


def test_a_model_that_overflows_is_refused(tmp_path: Path) -> None:
    weights = [tensor("a", np.full((2, 2), 3e38, np.float32)), tensor("b", normal(0, 2, 2))]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["m"], name="first"),
             helper.make_node("MatMul", ["m", "b"], ["y"], name="second")]  # fmt: skip
    path = save(make_model(nodes, {"x": ["n", 2]}, {"y": ["n", 2]}, weights), tmp_path)
    message = refused(path, [{"x": np.full((200, 2), 9, np.float32)}])
    assert "layer 'second' takes or gives NaN or infinite values in calibration" in message
