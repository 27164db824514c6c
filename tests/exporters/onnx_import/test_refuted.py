"""Models that the axes let stream and the proof does not; and graphs that cost or crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgernn
from edgernn.errors import AccuracyGateError, ModelError
from edgernn_exporters.onnx_import.importing import Imported, import_onnx
from edgernn_exporters.onnx_import.proof import Runtimes
from edgernn_runtimes import load
from edgernn_runtimes.plain import open_plain

WIDTH, HIDDEN = 4, 4


def constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def info(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def cell_weights(gates: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, gates * HIDDEN, size)).astype(np.float32) * 0.5
            for size in (WIDTH, HIDDEN)]  # fmt: skip


def saved(
    tmp_path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto], constants: list[onnx.TensorProto],
) -> Path:  # fmt: skip
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def imported(path: Path, seconds: float | None = None) -> Imported:
    runtimes = Runtimes(lambda file: open_plain(file, threads=1, seconds=seconds), load)
    return import_onnx(path, path.with_name("clean.onnx"), runtimes=runtimes)


def minus_last(time: int | str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Subtract the last step from all, as NLinear does."""
    nodes = [
        helper.make_node("Gather", ["x", "last"], ["end"], axis=0),
        helper.make_node("Sub", ["x", "end"], ["shifted"]),
    ]
    return nodes, [constant("last", [-1])]


def places(time: int | str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Add what stands for the place of each step."""
    steps = time if isinstance(time, int) else 1200
    table = np.random.default_rng(1).standard_normal((steps, 1, WIDTH))
    values = constant("table", table.astype(np.float32))
    if isinstance(time, int):
        return [helper.make_node("Add", ["x", "table"], ["shifted"])], [values]
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["steps"]),
        helper.make_node("Slice", ["table", "zero", "steps", "zero"], ["place"]),
        helper.make_node("Add", ["x", "place"], ["shifted"]),
    ]
    return nodes, [values, constant("zero", [0]), constant("one", [1])]


@pytest.mark.parametrize("time", ["time", 10])
@pytest.mark.parametrize("front", [minus_last, places])
def test_what_depends_on_the_whole_call_runs_whole(
    front: Callable[..., Any], time: int | str, tmp_path: Path
) -> None:
    nodes, constants = front(time)
    w, r = cell_weights(3)
    nodes += [
        helper.make_node("GRU", ["shifted", "W", "R"], ["all"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["all", "direction"], ["y"]),
    ]
    constants += [constant("W", w), constant("R", r), constant("direction", [1])]
    path = saved(tmp_path, nodes, [info("x", [time, 1, WIDTH])], [info("y", [time, 1, HIDDEN])],
                 constants)  # fmt: skip
    result = imported(path)
    contract = result.metadata.contract
    assert contract is not None
    assert not contract.stream.causal
    assert not contract.states
    assert result.proof is not None
    assert "the model does not stream: " in result.described.notes[0]
    x = np.random.default_rng(2).standard_normal((10, 1, WIDTH)).astype(np.float32)
    got = edgernn.load(result.path, "cpu").run({"x": x})["y"]
    np.testing.assert_allclose(got, open_plain(path)({"x": x})["y"], rtol=0, atol=1e-6)


def loop(tmp_path: Path, operator: str, count: int) -> Path:
    along = {"axis": 0} if operator == "Concat" else {}
    inner = [
        helper.make_node("Identity", ["on"], ["on_next"]),
        helper.make_node(operator, ["s", "s"], ["s_next"], **along),
    ]
    body = helper.make_graph(
        inner, "body",
        [info("i", [], TensorProto.INT64), info("on", [], TensorProto.BOOL), info("s", ["n"])],
        [info("on_next", [], TensorProto.BOOL), info("s_next", ["m"])],
    )  # fmt: skip
    return saved(
        tmp_path, [helper.make_node("Loop", ["count", "yes", "x"], ["y"], body=body)],
        [info("x", [4])], [info("y", ["k"])],
        [constant("count", np.int64(count)), constant("yes", np.bool_(True))],
    )  # fmt: skip


def test_a_loop_without_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(
        AccuracyGateError, match="takes more than 1 s; a loop in it may have no end"
    ):
        imported(loop(tmp_path, "Add", 10**12), seconds=1)


@pytest.mark.slow
def test_a_loop_that_grows_does_not_take_all_memory(tmp_path: Path) -> None:
    with pytest.raises(AccuracyGateError, match=r"does not run on random inputs|more memory"):
        imported(loop(tmp_path, "Concat", 40))


def test_a_body_that_does_not_fit_its_node_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "v"], ["s_next"]), helper.make_node("Relu", ["s"], ["o"])],
        "body", [info("s", [4]), info("v", [4])], [info("s_next", [4]), info("o", [4])],
    )  # fmt: skip
    scan = helper.make_node("Scan", ["s0", "x"], ["last", "y"], body=body, num_scan_inputs=7)
    path = saved(tmp_path, [scan], [info("s0", [4]), info("x", ["time", 4])],
                 [info("last", [4]), info("y", ["time", 4])], [])  # fmt: skip
    with pytest.raises(ModelError, match="Scan node 'last' and the graphs in it differ"):
        imported(path)


def test_states_have_the_type_of_their_weights(tmp_path: Path) -> None:
    w, r = (value.astype(np.float16) for value in cell_weights(4))
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=HIDDEN)
    path = saved(
        tmp_path, [node], [info("x", ["time", 1, WIDTH], TensorProto.FLOAT16)],
        [info("y", ["time", 1, 1, HIDDEN], TensorProto.FLOAT16)],
        [constant("W", w), constant("R", r)],
    )  # fmt: skip
    result = import_onnx(path, tmp_path / "clean.onnx", runtimes=None)
    assert [spec.dtype for spec in result.described.states] == ["float16", "float16"]
    assert open_plain(result.path)


def test_a_layer_without_rows_is_refused(tmp_path: Path) -> None:
    w, r = cell_weights(4)
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=HIDDEN)
    path = saved(tmp_path, [node], [info("x", ["time", 0, WIDTH])],
                 [info("y", ["time", 1, 0, HIDDEN])],
                 [constant("W", w), constant("R", r)])  # fmt: skip
    with pytest.raises(ModelError, match="which holds nothing"):
        imported(path)
