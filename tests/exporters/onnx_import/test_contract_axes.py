"""Batch and time are followed through the graph, and made dynamic where running shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.onnx_cells import Graph, inferred, run
from helpers.recurrent_graphs import HIDDEN, WIDTH, drawn, layer, opened, shapes, streams
from hypothesis import given, settings
from hypothesis import strategies as st

import edgernn
from edgernn.contract import ZEROS, Axes
from edgernn.streaming import run_in_chunks


def stateless(
    head: Callable[[Graph, str], str], *, time: int | str = "time", batch: int | str = "batch",
    out: list[int | str] | None = None, initial: Callable[[Graph], str] | None = None,
    front: Callable[[Graph, str], str] | None = None, **given: str,
):  # fmt: skip
    """Return a model x [batch, time, in] -> GRU -> ``head`` of [time, batch, hidden] -> y."""
    g = Graph()
    x = front(g, "x") if front else "x"
    states = [initial(g)] if initial else []
    y, _ = layer(g, "GRU", g.add("Transpose", x, perm=[1, 0, 2]), states, **given)
    g.add("Identity", head(g, g.add("Squeeze", y, g.ints(1))), to="y")
    shape = [batch, time, HIDDEN] if out is None else out
    return g.model({"x": [batch, time, WIDTH]}, {"y": shape})


def back(g: Graph, y: str) -> str:
    return g.add("Transpose", y, perm=[1, 0, 2])


ZERO_STATES = {
    "absent": None,
    "constant": lambda g: g.const(np.zeros((1, 2, HIDDEN))),
    "of the batch": lambda g: g.add(
        "ConstantOfShape",
        g.add("Concat", g.ints(1), g.add("Shape", "x", start=0, end=1), g.ints(HIDDEN), axis=0),
    ),
    "expanded": lambda g: g.add(
        "Expand", g.const(np.zeros((1, 1, HIDDEN))),
        g.add("Concat", g.ints(1), g.add("Shape", "x", start=0, end=1), g.ints(1), axis=0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("start", ZERO_STATES)
def test_layers_that_start_from_zeros_get_a_state(start: str, tmp_path: Path) -> None:
    batch = 2 if start == "constant" else "batch"
    model = stateless(back, batch=batch, initial=ZERO_STATES[start])
    changed, contract, notes = inferred(model)
    assert contract is not None
    (state,) = contract.states
    assert (state.input, state.output, state.init) == ("rnn.h", "rnn.h.next", ZEROS)
    assert shapes(changed)["rnn.h"] == [1, "batch", HIDDEN]
    assert any("started from zeros" in note for note in notes)
    assert "ConstantOfShape" not in {node.op_type for node in changed.graph.node}
    streams(model, {}, drawn(2, 9, WIDTH), tmp_path)


def test_a_learned_first_state_is_that_of_the_contract(tmp_path: Path) -> None:
    first = drawn(1, 1, HIDDEN)

    def initial(g: Graph) -> str:
        size = g.add("Concat", g.ints(1), g.add("Shape", "x", start=0, end=1), g.ints(1), axis=0)
        return g.add("Expand", g.const(first), size)

    model = stateless(back, initial=initial)
    changed, contract, notes = inferred(model)
    assert contract is not None
    (state,) = contract.states
    assert any("started from a constant" in note for note in notes)
    value = next(t for t in changed.graph.initializer if t.name == state.init)
    assert list(value.dims) == [1, 1, HIDDEN]
    streams(model, {}, drawn(3, 9, WIDTH), tmp_path)


def test_rows_that_start_from_different_constants_have_no_state() -> None:
    model = stateless(back, batch=2, initial=lambda g: g.const(drawn(1, 2, HIDDEN)))
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert any("each row from other values" in note for note in notes)


def dense(g: Graph, y: str) -> str:
    """A product over rows that batch and time were flattened into, and taken apart again."""
    flat = g.add("Reshape", back(g, y), g.ints(-1, HIDDEN))
    flat = g.add("MatMul", flat, g.const(np.eye(HIDDEN)))
    size = g.add("Concat", g.add("Shape", "x", start=0, end=2), g.ints(HIDDEN), axis=0)
    return g.add("Reshape", flat, size)


def fixed_dense(g: Graph, y: str) -> str:
    flat = g.add("Reshape", back(g, y), g.ints(2, HIDDEN))
    return g.add("Reshape", g.add("Relu", flat), g.ints(1, 2, HIDDEN))


def window_dense(g: Graph, y: str) -> str:
    flat = g.add("Reshape", back(g, y), g.ints(6, HIDDEN))
    return g.add("Reshape", g.add("Relu", flat), g.ints(1, 6, HIDDEN))


def heads(g: Graph, y: str) -> str:
    parts = g.add("Reshape", back(g, y), g.ints(0, 0, 2, HIDDEN // 2))
    return g.add("Reshape", g.add("Tanh", parts), g.ints(1, 2, HIDDEN))


@pytest.mark.parametrize(
    ("head", "time", "batch"),
    [(back, "time", "batch"), (dense, "T", "N"), (fixed_dense, 2, 1), (window_dense, 6, 1),
     (heads, 2, 1), (back, 2, 1), (back, 5, 2), (back, "frames", 1), (back, 2, "rows")],
)  # fmt: skip
def test_axes_become_dynamic(
    head: Callable[[Graph, str], str], time: int | str, batch: int | str, tmp_path: Path
) -> None:
    model = stateless(head, time=time, batch=batch)
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    assert contract.stream.inputs == {"x": Axes(batch=0, time=1)}
    assert contract.stream.outputs == {"y": Axes(batch=0, time=1)}
    assert shapes(changed)["x"] == ["batch", "time", WIDTH]
    assert shapes(changed)["y"] == ["batch", "time", HIDDEN]
    session = opened(changed, contract, tmp_path)
    x = drawn(3, 12, WIDTH)
    whole = session.run({"x": x})["y"]
    for chunk in (1, 5):
        got = run_in_chunks(session, {"x": x}, chunk)["y"]
        np.testing.assert_allclose(got, whole, rtol=0, atol=1e-5)
    rows, steps = (size if isinstance(size, int) else 2 for size in (batch, time))
    want = run(model, {"x": x[:rows, :steps]})["y"]
    np.testing.assert_allclose(whole[:rows, :steps], want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 14, 18, 21, 23])
def test_any_opset(opset: int) -> None:
    model = stateless(fixed_dense, time=2, batch=1)
    model.opset_import[0].version = opset
    model.graph.node[1].name = ""
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert [state.input for state in contract.states] == ["gru.h"]
    assert shapes(changed)["x"] == ["batch", "time", WIDTH]


def last_step(g: Graph, y: str) -> str:
    return g.add("Gather", y, g.const(-1, np.int64), axis=0)


def test_the_last_step_alone(tmp_path: Path) -> None:
    model = stateless(last_step, time=7, batch=1, out=[1, HIDDEN])
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    assert contract.stream.outputs == {"y": Axes(batch=0, time=None)}
    assert shapes(changed)["y"] == ["batch", HIDDEN]
    streams(stateless(last_step, out=["batch", HIDDEN]), {}, drawn(2, 8, WIDTH), tmp_path)


def mean(g: Graph, y: str) -> str:
    return g.add("ReduceMean", y, g.ints(0), keepdims=0)


def attention(g: Graph, y: str) -> str:
    rows = back(g, y)
    scores = g.add("MatMul", rows, g.add("Transpose", rows, perm=[0, 2, 1]))
    return g.add("MatMul", g.add("Softmax", scores, axis=-1), rows)


def future(g: Graph, y: str) -> str:
    rows = g.add("Transpose", y, perm=[1, 2, 0])
    kernel = g.const(np.ones((HIDDEN, HIDDEN, 3)))
    rows = g.add("Conv", rows, kernel, kernel_shape=[3], pads=[1, 1])
    return g.add("Transpose", rows, perm=[0, 2, 1])


def padded(g: Graph, y: str) -> str:
    rows = g.add("Pad", g.add("Transpose", y, perm=[1, 2, 0]), g.ints(0, 0, 2, 0, 0, 0))
    rows = g.add("Conv", rows, g.const(np.ones((HIDDEN, HIDDEN, 3))), kernel_shape=[3])
    return g.add("Transpose", rows, perm=[0, 2, 1])


def cumulative(g: Graph, y: str) -> str:
    return g.add("CumSum", back(g, y), g.const(1, np.int64))


@pytest.mark.parametrize(
    ("head", "time", "word"),
    [(mean, "time", "ReduceMean"), (mean, 6, "ReduceMean"), (attention, "time", "MatMul"),
     (attention, 6, "Softmax"), (future, "time", "Conv"), (future, 6, "Conv"), (padded, 6, "Pad"),
     (cumulative, 6, "CumSum")],
)  # fmt: skip
def test_what_looks_at_other_steps_does_not_stream(
    head: Callable[[Graph, str], str], time: int | str, word: str, tmp_path: Path
) -> None:
    out = ["batch", HIDDEN] if head is mean else None
    model = stateless(head, out=out, time=time)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.stream.causal
    assert not contract.states
    assert shapes(changed)["x"] == ["batch", time, WIDTH]
    assert any("does not stream" in note and word in note for note in notes)
    x = drawn(2, 6, WIDTH)
    got = opened(changed, contract, tmp_path).run({"x": x})["y"]
    np.testing.assert_allclose(got, run(model, {"x": x})["y"], rtol=0, atol=1e-5)


def position(g: Graph, x: str) -> str:
    return g.add("Add", x, g.const(drawn(1, 6, WIDTH)))


def test_a_table_of_positions_keeps_the_length() -> None:
    changed, contract, notes = inferred(stateless(back, time=6, batch=1, front=position))
    assert contract is not None
    assert contract.stream.inputs == {"x": Axes(batch=0, time=1)}
    assert shapes(changed)["x"] == ["batch", 6, WIDTH]
    assert any("time axis stays 6 long" in note and "Add" in note for note in notes)


def rows_of_frames(path: Path, x: np.ndarray) -> np.ndarray:
    """Run a file of one step call by call."""
    model = onnx.load(path)
    return np.concatenate([run(model, {"x": x[:, t : t + 1]})["y"] for t in range(x.shape[1])], 1)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_layer_of_one_step_that_starts_anew_in_each_call_stays_so(
    batch: int | str, tmp_path: Path
) -> None:
    """Calls of the file do not know of each other, and those of its import must not either."""
    path = tmp_path / "theirs.onnx"
    onnx.save(stateless(back, time=1, batch=batch), path)
    result = edgernn.import_onnx(path, tmp_path / "ours.onnx")
    contract = result.metadata.contract
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert result.described.inputs[0].shape == ("batch", 1, WIDTH)
    (note,) = (note for note in result.described.notes if "does not stream" in note)
    assert "GRU rnn" in note
    assert "dynamic time axis" in note
    session = edgernn.load(tmp_path / "ours.onnx", target="cpu", threads=1)
    x = drawn(1, 4, WIDTH)
    got = [session.run({"x": x[:, t : t + 1]})["y"] for t in range(4)]
    np.testing.assert_allclose(np.concatenate(got, 1), rows_of_frames(path, x), rtol=0, atol=1e-5)


def test_one_step_that_the_user_asks_for_streams(tmp_path: Path) -> None:
    """The file takes many steps, so what its layer remembers is known."""
    model = stateless(back)
    onnx.save(model, tmp_path / "theirs.onnx")
    result = edgernn.import_onnx(tmp_path / "theirs.onnx", tmp_path / "ours.onnx", fix={"time": 1})
    contract = result.metadata.contract
    assert contract is not None
    assert contract.stream.causal
    assert [state.input for state in contract.states] == ["rnn.h"]
    assert result.described.inputs[0].shape == ("batch", 1, WIDTH)
    stream = edgernn.load(tmp_path / "ours.onnx", target="cpu", threads=1).stream()
    x = drawn(1, 4, WIDTH)
    got = np.concatenate([stream.step(x[:, t : t + 1]) for t in range(4)], 1)
    np.testing.assert_allclose(got, run(model, {"x": x})["y"], rtol=0, atol=1e-5)


def per_frame(g: Graph, x: str) -> str:
    """Normalize over time and features of one frame: with more frames it would be another thing."""
    mean = g.add("ReduceMean", x, g.ints(1, 2))
    return g.add("Sub", x, mean)


def test_one_frame_that_is_normalized_stays_apart_from_others(tmp_path: Path) -> None:
    model = stateless(back, time=1, batch=1, front=per_frame, initial=lambda g: "h")
    state = onnx.helper.make_tensor_value_info("h", 1, [1, 1, HIDDEN])
    model.graph.input.append(state)
    node = next(node for node in model.graph.node if node.op_type == "GRU")
    model.graph.output.add().CopyFrom(state)
    node.output[1] = model.graph.output[-1].name = "h_next"
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    assert shapes(changed)["x"] == ["batch", "time", WIDTH]
    x, h, want = drawn(1, 5, WIDTH), np.zeros((1, 1, HIDDEN), np.float32), []
    for t in range(5):
        found = run(model, {"x": x[:, t : t + 1], "h": h})
        h = found["h_next"]
        want.append(found["y"])
    session = opened(changed, contract, tmp_path)
    got = session.run({"x": x})["y"]
    np.testing.assert_allclose(got, np.concatenate(want, 1), rtol=0, atol=1e-5)


def test_one_frame_that_keeps_its_length_says_why() -> None:
    changed, contract, notes = inferred(stateless(back, time=1, batch=1, front=per_frame))
    assert contract is not None
    assert shapes(changed)["x"] == ["batch", 1, WIDTH]
    assert any("time axis stays 1 long" in note and "ReduceMean" in note for note in notes)


@settings(max_examples=25, deadline=None)
@given(perm=st.permutations(range(4)), fixed=st.booleans())
def test_any_order_of_axes(perm: list[int], fixed: bool) -> None:
    """x has batch, time, a channel axis of size 1 and features, in any order."""
    g = Graph()
    whole: list[int | str] = [*((1, 2) if fixed else ("batch", "time")), 1, WIDTH]
    x = g.add("Transpose", "x", perm=[perm.index(at) for at in (1, 0, 2, 3)])
    y, _ = layer(g, "LSTM", g.add("Squeeze", x, g.ints(2)), [])[:2]
    g.add("Squeeze", y, g.ints(1), to="y")
    model = g.model({"x": [whole[at] for at in perm]}, {"y": [whole[1], whole[0], HIDDEN]})
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.inputs["x"] == Axes(batch=perm.index(0), time=perm.index(1))
    assert contract.stream.outputs["y"] == Axes(batch=1, time=0)
    want = ["batch", "time", 1, WIDTH]
    assert shapes(changed)["x"] == [want[at] for at in perm]


def test_a_decoder_that_starts_from_what_an_encoder_ends_with_does_not_stream() -> None:
    g = Graph()
    _, h = layer(g, "GRU", "x", [])
    y, _ = layer(g, "GRU", "z", [h], name="decoder")
    g.add("Squeeze", y, g.ints(1), to="y")
    model = g.model({"x": ["S", "N", WIDTH], "z": ["T", "N", WIDTH]}, {"y": ["T", "N", HIDDEN]})
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.stream.causal
    assert not contract.states
    assert any("decoder" in note and "computed anew" in note for note in notes)


def test_lengths_of_rows() -> None:
    g = Graph()
    y, _ = layer(g, "GRU", "x", [], lengths="n")
    g.add("Squeeze", y, g.ints(1), to="y")
    model = g.model({"x": ["T", "N", WIDTH], "n": ["N"]}, {"y": ["T", "N", HIDDEN]}, n=6)
    _, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.lengths == "n"
    assert not contract.states
    assert contract.stream.inputs == {"x": Axes(1, 0), "n": Axes(0, None)}


def test_a_model_without_memory_has_no_contract() -> None:
    g = Graph()
    g.add("Relu", "x", to="y")
    model = g.model({"x": ["N", 3]}, {"y": ["N", 3]})
    changed, contract, notes = inferred(model)
    assert changed is model
    assert contract is None
    assert any("no recurrent layer" in note for note in notes)


def test_a_layer_over_something_else_than_time_gets_no_state() -> None:
    """The steps are windows of one input; calls do not follow each other."""
    g = Graph()
    x = g.add("Conv", "x", g.const(drawn(WIDTH, 1, 8)), kernel_shape=[8], strides=[8])
    _, h = layer(g, "GRU", g.add("Transpose", x, perm=[2, 0, 1]), [])
    g.add("Squeeze", h, g.ints(0), to="y")
    model = g.model({"x": ["batch", 1, 64]}, {"y": ["batch", HIDDEN]})
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert contract.stream.inputs == {"x": Axes(batch=0, time=None)}
    assert any("its time is no axis of an input" in note for note in notes)


def test_a_fixed_batch_of_two_is_not_taken_for_a_name() -> None:
    changed, contract, _ = inferred(stateless(position_of_rows, batch=2, out=[2, "time", HIDDEN]))
    assert contract is not None
    assert shapes(changed)["rnn.h"] == [1, 2, HIDDEN]
    assert shapes(changed)["x"] == [2, "time", WIDTH]


def position_of_rows(g: Graph, y: str) -> str:
    return g.add("Add", back(g, y), g.const(drawn(2, 1, HIDDEN)))
