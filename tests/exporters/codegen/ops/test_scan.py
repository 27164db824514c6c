"""Scan and Loop as C, against ONNX Runtime: random bodies, shapes, axes and directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.c_runner import FLAGS, SANITIZE, CLibrary, CProgram
from helpers.graphs import make_model, normal, run_onnx, tensor
from helpers.operators import examples
from helpers.random_scans import graphs
from helpers.scans import CELLS, cell_model
from hypothesis import given
from onnx import helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import ModelError
from edgernn.metadata import Metadata


def compare(model: onnx.ModelProto, feeds: dict[str, np.ndarray], got: dict[str, Any]) -> None:
    for name, want in run_onnx(model, feeds, optimized=False).items():
        assert got[name].shape == want.shape, name
        np.testing.assert_allclose(got[name], want, rtol=1e-4, atol=2e-5, err_msg=name)


@examples(40)
@given(made=graphs())
def test_random_bodies(made: tuple[onnx.ModelProto, dict[str, np.ndarray]],
                       tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    model, feeds = made
    folder = tmp_path_factory.mktemp("scan")
    library = CLibrary(model, folder / "net")
    assert library.project.fallback == ()
    compare(model, feeds, library.run(feeds))
    compare(model, feeds, library.run(feeds))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_cells_in_chunks_and_steps(tmp_path: Path, cell: str, batch: int) -> None:
    inputs = 7 if cell == "sru" else 5  # its output adds its input
    model = cell_model(cell, inputs=inputs, hidden=7, linear=4)
    library = CLibrary(model, tmp_path / "net", batch=batch, chunk=4)
    assert library.project.fallback == ()
    x = normal(9, 11, batch, inputs)
    starts = {state.name: np.zeros(state.shape, np.float32) for state in library.project.states}
    want = run_onnx(model, {"x": x, **starts})
    np.testing.assert_allclose(library.run({"x": x})["y"], want["y"], 1e-5, 4e-6)
    for state in library.project.states:
        got = library.state(state.name)
        np.testing.assert_allclose(got, want[f"{state.name}_next"], 1e-5, 4e-6)
    library.reset()
    steps = [library.step({"x": x[i : i + 1]})["y"] for i in range(5)]
    saved = library.save()
    steps.append(library.run({"x": x[5:]}, fresh=False)["y"])
    np.testing.assert_allclose(np.concatenate(steps), want["y"], 1e-5, 4e-6)
    library.restore(saved)
    again = library.run({"x": x[5:]}, fresh=False)["y"]
    np.testing.assert_array_equal(again, steps[-1])


def test_input_products_are_taken_out_of_the_loop(tmp_path: Path) -> None:
    CLibrary(cell_model("layernorm_lstm"), tmp_path / "net")
    code = (tmp_path / "net" / "net.c").read_text()
    before, loop = code.split("/* Scan cell */")
    assert "edgernn_linear_f32(wx, 28, net_W_bias, 0, x, 5, net_W, t, 28, 5);" in before
    assert "edgernn_linear_f32(rh, 28, NULL, 0, v_h, 7, net_R, 1, 28, 7);" in loop


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("cell", CELLS)
def test_cells_with_sanitizers(tmp_path: Path, cell: str, compiler: str) -> None:
    inputs = 7 if cell == "sru" else 5
    model = cell_model(cell, inputs=inputs, batch=2)
    program = CProgram(
        model, tmp_path / "net", flags=[*FLAGS, *SANITIZE], compiler=[compiler], chunk=3
    )
    x = normal(9, 8, 2, inputs)
    starts = {state.name: np.zeros(state.shape, np.float32) for state in program.project.states}
    want = run_onnx(model, {"x": x, **starts})["y"]
    np.testing.assert_allclose(program.run({"x": x})["y"], want, 1e-5, 4e-6)


BACKWARD = """
states, y = Scan <num_scan_inputs = 2, scan_input_axes = [1, 1], scan_input_directions = [1, 0],
    scan_output_axes = [1], scan_output_directions = [1], body = body (
        float[2, 3] h, float[2, 3] a, float[2, 3] b) => (float[2, 3] h_new, float[2, 3] y_t) {
    p = MatMul (a, w)
    s = Add (p, h)
    h_new = Tanh (s)
    y_t = Mul (h_new, b)
}> (h0, x, x)
"""


def test_backward_over_a_sequence_of_any_length(tmp_path: Path) -> None:
    """A batch in front of time, and no contract state: only whole sequences."""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{BACKWARD}}}").node)
    initializers = [tensor("w", normal(0, 3, 3)), tensor("h0", normal(1, 2, 3))]
    model = make_model(
        nodes, {"x": [2, "time", 3]}, {"y": [2, "time", 3], "states": [2, 3]}, initializers
    )
    axes = Axes(batch=0, time=1)
    stream = StreamSpec(False, {"x": axes}, {"y": axes, "states": Axes(batch=0, time=None)})
    helper.set_model_props(model, Metadata(contract=Contract((), stream)).to_props())
    library = CLibrary(model, tmp_path / "net", max_steps=16)
    assert library.project.max_steps == 16
    for steps in (1, 2, 9, 16):
        feeds = {"x": normal(steps, 2, steps, 3)}
        got, want = library.run(feeds), run_onnx(model, feeds)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], 1e-5, 2e-6, err_msg=name)


LOOP = """
sizes = Shape <start = 0, end = 1> (x)
steps = Squeeze (sizes)
h_next, y = Loop <body = body (int64 i, bool going, float[1, 3] old) => (
        bool still, float[1, 3] new, float[1, 3] y_t) {
    still = Identity (going)
    x_t = Gather <axis = 0> (x, i)
    xw = MatMul (x_t, w)
    a = Add (xw, old)
    new = Tanh (a)
    y_t = Identity (new)
}> (steps, going, h)
"""


def test_loop_over_all_steps(tmp_path: Path) -> None:
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{LOOP}}}").node)
    initializers = [tensor("w", normal(0, 3, 3)), tensor("going", True)]
    model = make_model(
        nodes, {"x": ["time", 1, 3], "h": [1, 3]}, {"y": ["time", 1, 3], "h_next": [1, 3]},
        initializers,
    )  # fmt: skip
    stream = StreamSpec(True, {"x": Axes(1, 0)}, {"y": Axes(1, 0)})
    contract = Contract((StateSpec("h", "h_next", batch_axis=0),), stream)
    helper.set_model_props(model, Metadata(contract=contract).to_props())
    library = CLibrary(model, tmp_path / "net", chunk=4)
    assert (library.project.fallback, library.project.fixed_steps) == ((), False)
    x = normal(2, 11, 1, 3)
    want = run_onnx(model, {"x": x, "h": np.zeros((1, 3), np.float32)})
    np.testing.assert_allclose(library.run({"x": x})["y"], want["y"], 1e-5, 2e-6)
    np.testing.assert_allclose(library.state("h"), want["h_next"], 1e-5, 2e-6)


def refused(text: str, tmp_path: Path, **initializers: Any) -> str:
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{text}}}").node)
    constants = [tensor(name, item) for name, item in initializers.items()]
    model = make_model(nodes, {"x": [4, 3]}, {"y": [3]}, constants)
    with pytest.raises(ModelError) as caught:
        CLibrary(model, tmp_path / "net")
    return str(caught.value)


def test_a_loop_that_may_end_early(tmp_path: Path) -> None:
    text = """y = Loop <body = body (int64 i, bool going, float[3] old) => (
        bool still, float[3] new) {
        row = Gather <axis = 0> (x, i)
        new = Add (row, old)
        sum = ReduceSum <keepdims = 0> (new)
        still = Less (sum, limit)
    }> (steps, going, start)"""
    message = refused(text, tmp_path, steps=np.int64(4), going=np.array(True),
                      start=np.zeros(3, np.float32), limit=np.float32(3))  # fmt: skip
    assert "Loop y: it may end early, when 'still' is false" in message


def test_a_node_of_the_body_that_has_no_form_in_c(tmp_path: Path) -> None:
    text = """y = Scan <num_scan_inputs = 1, body = body (float[3] old, float[3] row) => (
        float[3] new) {
        noise = RandomNormalLike (row)
        moved = Add (noise, old)
        new = Tanh (moved)
    }> (start, x)"""
    message = refused(text, tmp_path, start=np.zeros(3, np.float32))
    assert "Scan y: in its body, RandomNormalLike noise: no kernel" in message


def test_a_state_that_grows(tmp_path: Path) -> None:
    text = """y = Scan <num_scan_inputs = 1, body = body (float[n] old, float[3] row) => (
        float[m] new) {
        new = Concat <axis = 0> (old, row)
    }> (start, x)"""
    message = refused(text, tmp_path, start=np.zeros(3, np.float32))
    assert "its state 'new' is float32 [6] behind a step, but float32 [3] before it" in message


def test_emx_writes_a_node_of_the_body(tmp_path: Path) -> None:
    pytest.importorskip("emx_onnx_cgen")
    text = """y, all = Scan <num_scan_inputs = 1, body = body (float[3] old, float[3] row) => (
        float[3] new, float[3] out) {
        a = Sin (row)
        b = Add (a, old)
        new = Cosh (b)
        out = Identity (a)
    }> (start, x)"""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{text}}}").node)
    initializers = [tensor("start", np.zeros(3, np.float32))]
    model = make_model(nodes, {"x": [4, 3]}, {"y": [3], "all": [4, 3]}, initializers)
    feeds = {"x": normal(0, 4, 3, scale=0.2)}
    library = CLibrary(model, tmp_path / "net")
    assert library.project.fallback == ("Sin a", "Cosh new")
    compare(model, feeds, library.run(feeds))


@pytest.mark.parametrize("backward", [0, 1])
def test_the_form_of_opset_8_has_a_batch(tmp_path: Path, backward: int) -> None:
    text = f"""last, all = Scan <num_scan_inputs = 1, directions = [{backward}],
        body = b (float[3] old, float[3] row) => (float[3] new, float[3] out) {{
        new = Add (old, row)
        out = Tanh (new)
    }}> ("", start, x)"""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{text}}}").node)
    model = make_model(
        nodes, {"x": [2, 4, 3], "start": [2, 3]}, {"last": [2, 3], "all": [2, 4, 3]}, opset=8,
        ir_version=3,
    )  # fmt: skip
    feeds = {"x": normal(0, 2, 4, 3), "start": normal(1, 2, 3)}
    compare(model, feeds, CLibrary(model, tmp_path / "net").run(feeds))


def test_what_a_body_does_not_read_takes_no_memory(tmp_path: Path) -> None:
    text = """y = Scan <num_scan_inputs = 2, body = b (float[3] old, float[3] row, float[2] no) => (
        float[3] new) {
        new = Add (old, row)
    }> (start, x, table)"""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{text}}}").node)
    initializers = [tensor("start", np.zeros(3, np.float32)), tensor("table", normal(1, 4, 2))]
    model = make_model(nodes, {"x": [4, 3]}, {"y": [3]}, initializers)
    library = CLibrary(model, tmp_path / "net", compiler=["clang"])
    assert library.project.weight_bytes == 0
    feeds = {"x": normal(0, 4, 3)}
    compare(model, feeds, library.run(feeds))


def test_names_of_a_body_mean_nothing_outside(tmp_path: Path) -> None:
    text = """one = Scan <num_scan_inputs = 1, body = body (float[3] h, float[3] x) => (
        float[3] m) {
        m = Add (h, x)
    }> (start, x)
    h = Scan <num_scan_inputs = 1, body = body (float[3] h, float[3] s0) => (float[3] n) {
        m = Mul (h, s0)
        n = Tanh (m)
    }> (one, x)
    m = Neg (h)
    y = Add (one, m)"""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{{text}}}").node)
    initializers = [tensor("start", np.zeros(3, np.float32))]
    model = make_model(nodes, {"x": [4, 3]}, {"y": [3]}, initializers)
    feeds = {"x": normal(0, 4, 3)}
    compare(model, feeds, CLibrary(model, tmp_path / "net").run(feeds))
