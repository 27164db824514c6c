from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from helpers.models import write_model
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgernn import api
from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.drift import CHUNK, WINDOWS, Drift, measure_drift, window_edges
from edgernn.errors import AccuracyGateError, ContractError, InputError
from edgernn.metadata import Metadata
from edgernn.npz import write_npz
from edgernn.sessions import Arrays
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
CHANNELS = 8


def write_sum(path: Path, *, gain: float, offset: float = 0.0, decay: bool = False) -> Path:
    """Write ``y = x + offset + gain * (sum of n so far)``; with ``decay`` n itself, not its sum."""
    value, array = helper.make_tensor_value_info, numpy_helper.from_array
    summed = [
        helper.make_node("CumSum", ["n", "axis"], ["sum"]),
        helper.make_node("Add", ["sum", "s"], ["total"]),
    ]
    nodes = [
        *([helper.make_node("Add", ["n", "s"], ["total"])] if decay else summed),
        helper.make_node("Mul", ["total", "gain"], ["error"]),
        helper.make_node("Add", ["error", "offset"], ["whole"]),
        helper.make_node("Add", ["x", "whole"], ["y"]),
        helper.make_node("Slice", ["total", "last", "end", "axis"], ["kept"]),
        helper.make_node("Mul", ["kept", "keep"], ["s_next"]),
    ]
    shape, state = ["batch", "time", CHANNELS], ["batch", 1, CHANNELS]
    graph = helper.make_graph(
        nodes,
        "sum",
        [value("x", TensorProto.FLOAT, shape), value("n", TensorProto.FLOAT, shape),
         value("s", TensorProto.FLOAT, state)],
        [value("y", TensorProto.FLOAT, shape), value("s_next", TensorProto.FLOAT, state)],
        [array(np.array([1], np.int64), "axis"), array(np.array([-1], np.int64), "last"),
         array(np.array([2**62], np.int64), "end"), array(np.float32(gain), "gain"),
         array(np.float32(offset), "offset"), array(np.float32(not decay), "keep")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    axes = Axes(batch=0, time=1)
    stream = StreamSpec(True, {"x": axes, "n": axes}, {"y": axes})
    contract = Contract((StateSpec("s", "s_next", batch_axis=0),), stream)
    helper.set_model_props(model, Metadata(contract).to_props())
    onnx.save(model, path)
    return path


def between(folder: Path, noise: np.ndarray, **candidate: float) -> Drift:
    """Compare the identity with a sum of ``noise [T, C]``."""
    first = open_cpu(write_sum(folder / "a.onnx", gain=0))
    second = open_cpu(write_sum(folder / "b.onnx", **candidate))
    inputs: Arrays = {"x": normal(1, 1, len(noise), CHANNELS), "n": noise[None]}
    return measure_drift(first, second, inputs)


def test_identical_models_are_bounded(tmp_path: Path) -> None:
    session = open_cpu(write_model(tmp_path / "a.onnx"))
    drift = measure_drift(session, session, {"x": normal(1, 2, 300, 8)}, steps=5000)
    assert drift.verdict == "bounded"
    assert set(drift.outputs["y"].rms) == {0.0}
    assert (drift.steps, drift.given_steps) == (5000, 300)
    drift.require_bounded()


def test_a_constant_offset_is_bounded(tmp_path: Path) -> None:
    drift = between(tmp_path, normal(2, 20_000, CHANNELS), gain=0, offset=0.5)
    assert drift.verdict == "bounded"
    np.testing.assert_allclose(drift.outputs["y"].rms, 0.5, rtol=1e-5)
    np.testing.assert_allclose(drift.outputs["y"].largest, 0.5, rtol=1e-5)
    assert drift.outputs["y"].reference_rms == pytest.approx(1, abs=0.05)


def test_noise_is_bounded(tmp_path: Path) -> None:
    drift = between(tmp_path, normal(2, 20_000, CHANNELS), gain=0.1, decay=True)
    assert drift.verdict == "bounded"
    assert drift.outputs["y"].trend.level == pytest.approx(0.1, abs=0.01)


def test_a_random_walk_grows(tmp_path: Path) -> None:
    drift = between(tmp_path, normal(3, 20_000, CHANNELS), gain=0.01)
    assert drift.verdict == "growing"
    with pytest.raises(AccuracyGateError, match=r"the error of output 'y' grows: by \d+% of its"):
        drift.require_bounded()


def test_linear_growth_grows_and_is_measured_in_each_window(tmp_path: Path) -> None:
    drift = between(tmp_path, np.ones((20_000, CHANNELS), np.float32), gain=1e-4)
    assert drift.growing == ("y",)
    ends = np.array(drift.edges[1:], np.float64)
    np.testing.assert_allclose(drift.outputs["y"].largest, ends * 1e-4, rtol=1e-2)
    assert drift.outputs["y"].trend.growth == pytest.approx(0.9 / 0.55, rel=0.02)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_other_weights_are_off_by_a_bounded_error(tmp_path: Path, cell: str) -> None:
    first = open_cpu(write_model(tmp_path / "a.onnx", cell=cell))
    second = open_cpu(write_model(tmp_path / "b.onnx", cell=cell, noise=0.003))
    drift = measure_drift(first, second, {"x": normal(1, 1, 700, 8)}, steps=50_000)
    assert drift.verdict == "bounded"
    assert 0 < drift.outputs["y"].trend.level < 0.05


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8"])
def test_quantized_layers_are_off_by_a_bounded_error(
    tmp_path: Path, precision: str, cell: str
) -> None:
    source = write_model(tmp_path / "a.onnx", cell=cell, layers=2)
    small, data = tmp_path / "b.onnx", {"x": normal(1, 1, 500, 8)}
    write_npz(tmp_path / "x.npz", data)
    calibration = tmp_path / "x.npz" if precision == "int8" else None
    api.quantize(source, small, precision=precision, calibration=calibration)
    drift = api.drift(source, small, data, steps=20_000)
    assert drift.verdict == "bounded"
    assert 0 < drift.outputs["y"].trend.level < 0.05
    states = {"h_l0", "h_l1", "c_l0", "c_l1"} if cell == "lstm" else {"h_l0", "h_l1"}
    assert set(drift.saturation) == (states if precision == "int8" else set())
    assert all(item.share < 0.01 for item in drift.saturation.values())


@given(steps=st.integers(1000, 2_000_000), period=st.integers(1, 50_000))
def test_windows_cover_all_steps_once(steps: int, period: int) -> None:
    edges = window_edges(steps, period)
    assert edges[0] == 0
    assert edges[-1] == steps
    sizes = np.diff(edges)
    assert (sizes > 0).all()
    assert len(sizes) <= WINDOWS + 24
    judged = sizes[edges[:-1] >= 0.1 * steps]
    assert len(judged) >= 20
    assert len(set(judged[:-1])) == 1
    assert judged[0] <= judged[-1] < 2 * judged[0]
    if steps // period >= 40 * max(1, steps // WINDOWS // period + 1):
        assert judged[0] % period == 0


def test_errors_are_those_of_whole_runs(tmp_path: Path) -> None:
    first = open_cpu(write_model(tmp_path / "a.onnx"))
    second = open_cpu(write_model(tmp_path / "b.onnx", noise=0.05))
    x = normal(1, 2, 1500, 8)
    seen: list[tuple[int, int]] = []
    drift = measure_drift(
        first, second, {"x": x}, progress=lambda done, total: seen.append((done, total))
    )
    error = first.run({"x": x})["y"] - second.run({"x": x})["y"]
    for start, stop, rms, largest in zip(
        drift.edges, drift.edges[1:], drift.outputs["y"].rms, drift.outputs["y"].largest,
        strict=False,
    ):  # fmt: skip
        piece = error[:, start:stop]
        assert rms == pytest.approx(np.sqrt(np.square(piece).mean()), rel=1e-3)
        assert largest == pytest.approx(np.abs(piece).max(), rel=1e-3)
    assert seen[-1] == (1500, 1500)
    assert all(b[0] - a[0] <= CHUNK for a, b in pairwise(seen))


def test_an_output_without_a_time_axis_counts_for_the_last_step(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    axis = [numpy_helper.from_array(np.array([1], np.int64), "axis")]
    model.graph.initializer.extend(axis)
    model.graph.node.append(helper.make_node("ReduceMean", ["y", "axis"], ["mean"], keepdims=0))
    model.graph.output.append(
        helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", 4])
    )
    metadata = Metadata.from_props({p.key: p.value for p in model.metadata_props}, "a")
    assert metadata.contract is not None
    axes = {"y": Axes(0, 1), "mean": Axes(0, None)}
    stream = StreamSpec(True, metadata.contract.stream.inputs, axes)
    contract = Contract(metadata.contract.states, stream)
    helper.set_model_props(model, Metadata(contract).to_props())
    onnx.save(model, path)
    drift = measure_drift(open_cpu(path), open_cpu(path), {"x": normal(1, 1, 1200, 8)})
    assert set(drift.outputs) == {"y", "mean"}
    assert set(drift.outputs["mean"].rms) == {0.0}


def test_integer_states_at_their_limit_are_counted(tmp_path: Path) -> None:
    """A model that adds its input to an int16 state, which it limits."""
    value, array = helper.make_tensor_value_info, numpy_helper.from_array
    nodes = [
        helper.make_node("Cast", ["s"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x", "axis"], ["added"], keepdims=0),
        helper.make_node("Add", ["wide", "added"], ["moved"]),
        helper.make_node("Clip", ["moved", "low", "high"], ["limited"]),
        helper.make_node("Cast", ["limited"], ["s_next"], to=TensorProto.INT16),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "limited",
        [value("x", TensorProto.FLOAT, ["batch", "time", 2]),
         value("s", TensorProto.INT16, ["batch", 2])],
        [value("y", TensorProto.FLOAT, ["batch", "time", 2]),
         value("s_next", TensorProto.INT16, ["batch", 2])],
        [array(np.array([1], np.int64), "axis"), array(np.float32(-32767), "low"),
         array(np.float32(32767), "high")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    axes = Axes(batch=0, time=1)
    contract = Contract(
        (StateSpec("s", "s_next", batch_axis=0, dtype="int16", scale=0.5),),
        StreamSpec(True, {"x": axes}, {"y": axes}),
    )
    helper.set_model_props(model, Metadata(contract).to_props())
    path = tmp_path / "a.onnx"
    onnx.save(model, path)
    x = np.zeros((1, 10_000, 2), np.float32)
    x[..., 0] = -6.5534  # reaches the limit after half of the steps; the other never moves
    drift = measure_drift(open_cpu(path), open_cpu(path), {"x": x})
    assert drift.saturation["s"].share == pytest.approx(0.25, abs=0.02)
    assert drift.saturation["s"].limit == 32767 / 2


def test_the_result_is_plain_json(tmp_path: Path) -> None:
    session = open_cpu(write_model(tmp_path / "a.onnx"))
    drift = measure_drift(session, session, {"x": normal(1, 1, 1000, 8)})
    value = json.loads(json.dumps(drift.to_json(), allow_nan=False))
    assert value["verdict"] == "bounded"
    assert len(value["outputs"]["y"]["rms"]) == len(value["edges"]) - 1
    assert value["outputs"]["y"]["trend"]["growing"] is False


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    session = open_cpu(path)
    x = {"x": normal(1, 1, 1500, 8)}
    with pytest.raises(InputError, match=r"at least 1000 time steps, not 999; .* --steps 100000"):
        measure_drift(session, session, {"x": x["x"][:, :999]})
    with pytest.raises(InputError, match="got shape"):
        measure_drift(session, session, {"x": x["x"][0]})
    other = open_cpu(write_model(tmp_path / "b.onnx", output_size=5))
    with pytest.raises(InputError, match="compare models made from one another"):
        measure_drift(session, other, x)
    both = open_cpu(write_model(tmp_path / "c.onnx", bidirectional=True))
    with pytest.raises(ContractError, match="not causal"):
        measure_drift(both, both, x)


def test_a_model_that_overflows_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    broken = onnx.load(write_model(tmp_path / "a.onnx"))
    for tensor in broken.graph.initializer:
        if tensor.name == "linear_b":
            tensor.CopyFrom(numpy_helper.from_array(np.full(4, np.nan, np.float32), "linear_b"))
    onnx.save(broken, tmp_path / "b.onnx")
    first, second = open_cpu(tmp_path / "a.onnx"), open_cpu(tmp_path / "b.onnx")
    with pytest.raises(AccuracyGateError, match="'y' holds NaN or infinite values between the"):
        measure_drift(first, second, {"x": normal(1, 1, 1500, 8)})
