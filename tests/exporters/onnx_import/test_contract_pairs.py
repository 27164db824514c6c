"""States that belong to no recurrent node: caches, pairs by name, pairs that the user names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.foreign import imported, save
from helpers.onnx_cells import Graph, inferred, run
from helpers.recurrent_graphs import HIDDEN, WIDTH, drawn, layer, opened, shapes
from onnx import helper

import edgernn
from edgernn.contract import Axes
from edgernn.errors import UsageError
from edgernn.streaming import run_in_chunks
from edgernn_exporters.onnx_import.pairing import alike


def convolved(
    kernel: int, dilation: int, *, time: int | str, batch: int | str, recurrent: bool,
    names: tuple[str, str] = ("past", "tail"), fixed_start: bool = False,
) -> onnx.ModelProto:  # fmt: skip
    """Return a causal convolution with a cache, before a GRU or alone."""
    g, reach = Graph(), (kernel - 1) * dilation
    joined = g.add("Concat", names[0], "x", axis=2)
    start = time if fixed_start else -reach
    g.add("Slice", joined, g.ints(start), g.ints(1 << 60), g.ints(2), to=names[1])
    weight = g.const(drawn(HIDDEN, WIDTH, kernel))
    y = g.add("Conv", joined, weight, kernel_shape=[kernel], dilations=[dilation])
    y = g.add("Tanh", y)
    outputs = {"y": [batch, HIDDEN, time], names[1]: [batch, WIDTH, reach]}
    if recurrent:
        y, _ = layer(g, "GRU", g.add("Transpose", y, perm=[2, 0, 1]), [], inputs=HIDDEN)
        y = g.add("Transpose", g.add("Squeeze", y, g.ints(1)), perm=[1, 2, 0])
    g.add("Identity", y, to="y")
    return g.model({"x": [batch, WIDTH, time], names[0]: [batch, WIDTH, reach]}, outputs)


@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 1), (3, 4), (5, 2)])
@pytest.mark.parametrize(("time", "batch"), [("time", "batch"), (2, 1), (4, 2), ("T", 1)])
def test_a_cache_of_a_convolution(
    kernel: int, dilation: int, time: int | str, batch: int | str, tmp_path: Path
) -> None:
    model = convolved(kernel, dilation, time=time, batch=batch, recurrent=True)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    pairs = {(s.input, s.output): s.batch_axis for s in contract.states}
    assert pairs == {("past", "tail"): 0, ("rnn.h", "rnn.h.next"): 1}
    assert contract.stream.inputs == {"x": Axes(batch=0, time=2)}
    assert shapes(changed)["x"] == ["batch", WIDTH, "time"]
    assert any("'past' is a cache" in note for note in notes)
    x = drawn(2, WIDTH, 11)
    session = opened(changed, contract, tmp_path)
    whole = session.run({"x": x})["y"]
    for chunk in (1, 4):
        got = run_in_chunks(session, {"x": x}, chunk)["y"]
        np.testing.assert_allclose(got, whole, rtol=0, atol=1e-5)
    rows, steps = (size if isinstance(size, int) else 2 for size in (batch, time))
    zeros = np.zeros((rows, WIDTH, (kernel - 1) * dilation), np.float32)
    want = run(model, {"x": x[:rows, :, :steps], "past": zeros})["y"]
    np.testing.assert_allclose(whole[:rows, :, :steps], want, rtol=0, atol=1e-5)


def test_a_layer_that_starts_anew_beside_a_cache_does_so_in_a_stream(tmp_path: Path) -> None:
    """The file of one step remembers what it says, and its import nothing else."""
    model = convolved(3, 1, time=1, batch=1, recurrent=True)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    assert [(s.input, s.output) for s in contract.states] == [("past", "tail")]
    assert shapes(changed)["x"] == ["batch", WIDTH, 1]
    assert any("time axis stays 1 long" in note and "remembers nothing" in note for note in notes)
    stream = opened(changed, contract, tmp_path).stream()
    past, x = np.zeros((1, WIDTH, 2), np.float32), drawn(1, WIDTH, 5)
    for t in range(5):
        want = run(model, {"x": x[:, :, t : t + 1], "past": past})
        past = want["tail"]
        got = stream.step(x[:, :, t : t + 1])
        np.testing.assert_allclose(got, want["y"], rtol=0, atol=1e-5)


def test_a_cache_that_is_cut_at_a_fixed_place_keeps_the_length() -> None:
    model = convolved(3, 1, time=4, batch=1, recurrent=True, fixed_start=True)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert ("past", "tail") in {(s.input, s.output) for s in contract.states}
    assert shapes(changed)["x"] == ["batch", WIDTH, 4]
    assert any("time axis" in note for note in notes)


def test_a_cache_without_a_recurrent_layer(tmp_path: Path) -> None:
    model = convolved(3, 1, time="time", batch="batch", recurrent=False)
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert [(s.input, s.output) for s in contract.states] == [("past", "tail")]
    assert contract.stream.inputs == {"x": Axes(batch=0, time=2)}
    session = opened(changed, contract, tmp_path)
    x = drawn(2, WIDTH, 9)
    whole = session.run({"x": x})["y"]
    got = run_in_chunks(session, {"x": x}, 2)["y"]
    np.testing.assert_allclose(got, whole, rtol=0, atol=1e-5)


def custom(names: tuple[str, str], batch: int | str = "batch") -> onnx.ModelProto:
    """A cell that is none of ONNX's: ``h' = 0.5 h + tanh(x W + p h)``."""
    g = Graph()
    total = g.add("Add", g.add("MatMul", "x", g.const(drawn(WIDTH, HIDDEN))),
                  g.add("Mul", names[0], g.const(drawn(HIDDEN))))  # fmt: skip
    g.add("Add", g.add("Mul", names[0], g.const(0.5)), g.add("Tanh", total), to=names[1])
    g.add("Relu", names[1], to="y")
    state = [batch, HIDDEN]
    return g.model({"x": [batch, WIDTH], names[0]: state}, {"y": state, names[1]: state})


@pytest.mark.parametrize(
    "names", [("h0", "hn"), ("state", "stateN"), ("cache_in", "cache_out"), ("h", "h_next")]
)
@pytest.mark.parametrize("batch", ["batch", 1])
def test_pairs_by_name_shape_and_dependence(
    names: tuple[str, str], batch: int | str, tmp_path: Path
) -> None:
    changed, contract, notes = inferred(custom(names, batch))
    assert contract is not None
    assert contract.stream.causal
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [(*names, 0)]
    assert any("by their names and shapes" in note for note in notes)
    stream = opened(changed, contract, tmp_path).stream()
    state = np.zeros((1, HIDDEN), np.float32)
    for x in drawn(4, 1, WIDTH):
        want = run(custom(names, batch), {"x": x, names[0]: state})
        np.testing.assert_allclose(stream.step(x), want["y"], atol=1e-6)
        state = want[names[1]]


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_state_that_is_the_only_output_stays_an_output(batch: int | str, tmp_path: Path) -> None:
    """The result of such a cell is its state, and a file without outputs cannot be run."""
    model = custom(("h0", "hn"), batch)
    del model.graph.output[0]
    path = save(model, tmp_path)
    result = imported(path, states={"h0": "hn"})
    contract = result.metadata.contract
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [("h0", "h0.next", 0)]
    assert [spec.name for spec in result.described.outputs] == ["hn"]
    xs = drawn(4, 1, WIDTH)
    for target in ("cpu", "native"):
        stream = edgernn.load(result.path, target).stream()
        state = np.zeros((1, HIDDEN), np.float32)
        for x in xs:
            state = run(model, {"x": x, "h0": state})["hn"]
            np.testing.assert_allclose(stream.step(x), state, rtol=0, atol=1e-5)


def test_names_alone_are_no_pair() -> None:
    """Without dependence, or with another shape, names say nothing."""
    g = Graph()
    g.add("Relu", "x", to="h_out")
    g.add("Relu", "h_in", to="y")
    model = g.model({"x": [1, 3], "h_in": [1, 3]}, {"h_out": [1, 3], "y": [1, 3]})
    changed, contract, _ = inferred(model)
    assert changed is model
    assert contract is None


@pytest.mark.parametrize(("stem", "found"), [("memory", True), ("voice", False)])
def test_what_only_goes_in_and_out_may_be_a_signal(stem: str, found: bool) -> None:
    """``audio_in`` and ``audio_out`` look like a state before and after, and are none."""
    g = Graph()
    total = g.add("Add", "audio_in", f"{stem}_in")
    g.add("Tanh", total, to="audio_out")
    g.add("Sigmoid", total, to=f"{stem}_out")
    shape = [1, 8]
    model = g.model({"audio_in": shape, f"{stem}_in": shape},
                    {"audio_out": shape, f"{stem}_out": shape})  # fmt: skip
    _, contract, notes = inferred(model)
    assert (contract is not None) == found
    assert any("--state audio_in=OUTPUT" in note for note in notes)
    _changed, contract, _ = inferred(model, **{f"{stem}_in": f"{stem}_out"})
    assert contract is not None
    assert [(s.input, s.output) for s in contract.states] == [(f"{stem}_in", f"{stem}_out")]
    assert list(contract.stream.inputs) == ["audio_in"]


def test_states_among_inputs_that_all_have_a_pair() -> None:
    """If every input had a pair, one of them would be the signal."""
    g = Graph()
    total = g.add("Add", "x", "y")
    g.add("Tanh", total, to="x_next")
    g.add("Sigmoid", total, to="y_next")
    shape = [1, 8]
    model = g.model({"x": shape, "y": shape}, {"x_next": shape, "y_next": shape})
    _, contract, notes = inferred(model)
    assert contract is None
    assert any("--state x=x_next, --state y=y_next" in note for note in notes)


def test_a_sequence_with_the_name_of_a_state_needs_a_word() -> None:
    g = Graph()
    y, _ = layer(g, "GRU", "audio_in", [])
    y = g.add("Squeeze", y, g.ints(1))
    g.add("Add", "audio_in", g.add("MatMul", y, g.const(drawn(HIDDEN, WIDTH))), to="audio_out")
    g.add("Relu", y, to="activity")
    shape = ["time", "batch", WIDTH]
    model = g.model({"audio_in": shape}, {"audio_out": shape, "activity": [*shape[:2], HIDDEN]})
    _, contract, notes = inferred(model)
    assert contract is not None
    assert [s.input for s in contract.states] == ["rnn.h"]
    assert any("--state audio_in=OUTPUT" in note for note in notes)


def test_two_outputs_with_fitting_names_need_a_word() -> None:
    g = Graph()
    h = g.add("Add", g.add("MatMul", "x", g.const(drawn(WIDTH, HIDDEN))), "h_in")
    for name in ("h_out", "h_next", "y"):
        g.add("Tanh", h, to=name)
    state = ["batch", HIDDEN]
    model = g.model({"x": ["batch", WIDTH], "h_in": state},
                    {"h_out": state, "h_next": state, "y": state})  # fmt: skip
    _, contract, notes = inferred(model)
    assert contract is None
    assert any("--state h_in=OUTPUT" in note for note in notes)


@pytest.mark.parametrize(
    ("state", "expected"),
    [({"nope": "stateN"}, r"no input 'nope'; its inputs are 'x', 'state'"),
     ({"state": "nope"}, r"no output 'nope'; .* 'state' are 'y', 'stateN'"),
     ({"x": "y"}, r"'x' is float \[batch, 3\] and 'y' is float \[batch, 4\]; .* are none"),
     ({"state": "y", "x": "y"}, r"--state x=y: 'x' is float")],
)  # fmt: skip
def test_pairs_that_do_not_fit_are_refused(state: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        inferred(custom(("state", "stateN")), **state)


def test_an_output_cannot_be_the_next_value_of_two_inputs() -> None:
    g = Graph()
    g.add("Add", "a", "b", to="s")
    model = g.model({"a": [1, 3], "b": [1, 3]}, {"s": [1, 3]})
    with pytest.raises(UsageError, match="names output 's' twice"):
        inferred(model, a="s", b="s")


def test_a_state_without_a_batch_axis_is_left_out_with_a_note() -> None:
    g = Graph()
    h = g.add("Tanh", g.add("Add", "x", "h0"), to="hn")
    g.add("Relu", h, to="y")
    model = g.model({"x": [3, 4], "h0": [3, 4]}, {"hn": [3, 4], "y": [3, 4]})
    changed, contract, notes = inferred(model)
    assert changed is model
    assert contract is None
    assert any("which axis of state 'h0' is the batch" in note for note in notes)


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_a_custom_cell_in_a_scan(batch: int | str, reverse: int, tmp_path: Path) -> None:
    body = Graph()
    total = body.add("Add", body.add("MatMul", "b.x", "w"), body.add("Mul", "b.h", "p"))
    body.add("Tanh", total, to="b.next")
    body.add("Identity", "b.next", to="b.y")
    kind = helper.make_tensor_value_info
    graph = helper.make_graph(
        body.nodes, "body", [kind("b.h", 1, None), kind("b.x", 1, None)],
        [kind("b.next", 1, None), kind("b.y", 1, None)],
    )  # fmt: skip
    g = Graph()
    g.tensors = [onnx.numpy_helper.from_array(drawn(WIDTH, HIDDEN), "w"),
                 onnx.numpy_helper.from_array(drawn(HIDDEN), "p")]  # fmt: skip
    g.many("Scan", "h", "x", outputs=["last", "y"], body=graph, num_scan_inputs=1,
           scan_input_directions=[reverse])  # fmt: skip
    model = g.model({"x": ["time", batch, WIDTH], "h": [batch, HIDDEN]},
                    {"y": ["time", batch, HIDDEN], "last": [batch, HIDDEN]})  # fmt: skip
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.causal == (not reverse)
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [("h", "last", 0)]
    assert contract.stream.inputs["x"].time == 0
    session = opened(changed, contract, tmp_path)
    x = drawn(7, 1, WIDTH)
    whole = session.run({"x": x})["y"]
    want = run(model, {"x": x, "h": np.zeros((1, HIDDEN), np.float32)})["y"]
    np.testing.assert_allclose(whole, want, atol=1e-6)
    if not reverse:
        np.testing.assert_allclose(run_in_chunks(session, {"x": x}, 2)["y"], want, atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("h0", "hn", True), ("state", "stateN", True), ("cache_in", "cache_out", True),
     ("in_state", "out_state", True), ("h", "h_next", True), ("prev_h", "new_h", True),
     ("x", "y", False), ("h", "h", False), ("x0", "x1", False), ("h0", "c_n", False),
     ("cache_in_1", "cache_out_2", False), ("input", "output", False)],
)  # fmt: skip
def test_names_that_belong_together(before: str, after: str, expected: bool) -> None:
    assert alike(before, after) == expected
