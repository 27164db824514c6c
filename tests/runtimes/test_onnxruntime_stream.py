from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgernn.errors import InputError
from edgernn.sessions import Stream
from edgernn_runtimes import load

from .test_onnxruntime_session import BAD, Write

ATOL = 2e-6


@pytest.mark.parametrize(("cell", "layers"), list(product(("lstm", "gru", "rnn"), (1, 2, 3))))
@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6), batch=st.integers(1, 4))
def test_any_chunks_equal_the_whole(
    model: Write, cell: str, layers: int, cuts: list[int], batch: int
) -> None:
    session = load(model(cell=cell, layers=layers), "cpu", threads=1)
    x = normal(1, batch, sum(cuts), 8)
    whole, stream = session.run({"x": x})["y"], session.stream(batch)
    assert isinstance(stream, Stream)
    ends = np.cumsum(cuts)
    pieces = [stream.step(x[:, end - cut : end]) for cut, end in zip(cuts, ends, strict=True)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=ATOL)


def test_many_chunk_sizes_keep_few_plans(model: Write) -> None:
    session, x = load(model(), "cpu", threads=1), normal(1, 1, 2000, 8)
    stream, pieces, start = session.stream(), [], 0
    for size in [*range(1, 40), 3, 1, 39, 20]:
        pieces.append(stream.step(x[:, start : start + size]))
        start += size
    whole = session.run({"x": x[:, :start]})["y"]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=ATOL)
    assert len(stream._plans) <= 16


def test_results_are_copies(model: Write) -> None:
    stream, x = load(model(), "cpu").stream(), normal(1, 1, 6, 8)
    first = stream.step(x[:, :1])
    kept, state = first.copy(), stream.state
    saved = state["h_l0"].copy()
    stream.step(x[:, 1:2])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(state["h_l0"], saved)
    state["h_l0"][:] = 9
    assert np.abs(stream.state["h_l0"]).max() < 1


def write_sparse(source: Path, path: Path) -> Path:
    """Rewrite a model so that it answers only for the time steps that have a value above 9."""
    model = onnx.load(source)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["dense" if name == "y" else name for name in node.output]
    graph.initializer.extend([
        helper.make_tensor("outer", onnx.TensorProto.INT64, [2], [0, 2]),
        helper.make_tensor("nine", onnx.TensorProto.FLOAT, [], [9.0]),
    ])  # fmt: skip
    graph.node.extend([
        helper.make_node("ReduceMax", ["x", "outer"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "nine"], ["keep"]),
        helper.make_node("Compress", ["dense", "keep"], ["y"], axis=1),
    ])  # fmt: skip
    (y,) = (output for output in graph.output if output.name == "y")
    y.type.tensor_type.shape.dim[1].dim_param = "kept"
    onnx.save(model, path)
    return path


def test_outputs_of_unknown_size_are_copies_and_may_change_size(
    model: Write, tmp_path: Path
) -> None:
    session = load(write_sparse(model(cell="lstm"), tmp_path / "a.onnx"), "cpu", threads=1)
    x, stream = normal(1, 1, 12, 8), session.stream()
    x[:, [0, 1, 3, 4, 5, 7, 11], 0] = 10
    pieces = [stream.step(x[:, t : t + 2]) for t in range(0, 12, 2)]
    assert [piece.shape[1] for piece in pieces] == [2, 1, 2, 1, 0, 1]
    whole = session.run({"x": x})["y"]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=ATOL)


def test_streams_are_independent(model: Write) -> None:
    session, x = load(model(cell="lstm"), "cpu"), normal(1, 2, 6, 8)
    first, second = session.stream(1), session.stream(1)
    whole = session.run({"x": x})["y"]
    for t in range(6):
        for row, stream in enumerate((first, second)):
            y = stream.step(x[row : row + 1, t : t + 1])
            np.testing.assert_allclose(y[0, 0], whole[row, t], atol=ATOL)


def test_reset_and_restore(model: Write) -> None:
    session, x = load(model(cell="lstm", layers=2), "cpu"), normal(1, 3, 8, 8)
    stream = session.stream(3)
    start = stream.step(x)
    saved = stream.state
    after = stream.step(x)
    assert not np.allclose(start, after)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), start)
    other = session.stream(3)
    other.state = saved
    np.testing.assert_array_equal(other.step(x), after)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("case", [*BAD, "batch"])
def test_refused_input_leaves_the_state(model: Write, case: str, warm: bool) -> None:
    stream, x = load(model(), "cpu").stream(2), normal(2, 2, 5, 8)
    stream.step(x)
    saved, wanted = stream.state, stream.step(x)
    stream.state = saved
    if not warm:
        stream._plans.clear()
    bad, expected = BAD.get(case, ({"x": normal(1, 3, 5, 8)}, r"opened for a batch of 2.*batch=3"))
    with pytest.raises(InputError, match=expected):
        stream.step(bad)
    if list(bad) == ["x"] and isinstance(bad["x"], np.ndarray):
        with pytest.raises(InputError, match=expected):
            stream.step(bad["x"])
    np.testing.assert_array_equal(stream.state["h_l0"], saved["h_l0"])
    np.testing.assert_array_equal(stream.step(x), wanted)


@pytest.mark.parametrize("what", ["list", "number", "none"])
def test_what_is_no_array_is_refused(model: Write, what: str) -> None:
    with pytest.raises(InputError, match="give a dict of numpy arrays, not"):
        load(model(), "cpu").stream().step({"list": [[[0.0] * 8]], "number": 3, "none": None}[what])


@pytest.mark.parametrize("make", [np.asfortranarray, lambda x: x[:, ::-1][:, ::-1],
                                  lambda x: np.repeat(x, 2, axis=2)[..., ::2]])  # fmt: skip
def test_views_are_taken(model: Write, make: Callable[[np.ndarray], np.ndarray]) -> None:
    session, x = load(model(), "cpu"), normal(1, 2, 5, 8)
    np.testing.assert_array_equal(session.stream(2).step(make(x)), session.stream(2).step(x))


def test_huge_finite_values_are_taken(model: Write) -> None:
    stream = load(model(), "cpu").stream()
    for scale in (1e20, 1e37):
        x = np.full((1, 1, 8), scale, np.float32)
        assert np.isfinite(stream.step(x)).all()


def refused(stream: Stream, x: np.ndarray) -> bool:
    try:
        stream.step(x)
    except InputError:
        return True
    return False


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_values_that_overflow_a_state_leave_it(model: Write, cell: str) -> None:
    session = load(model(cell=cell, input_size=64), "cpu")
    stream, rng = session.stream(), np.random.default_rng(0)
    stream.step(normal(1, 1, 3, 64))
    top = np.finfo(np.float32).max
    for _ in range(5):
        x = (rng.choice([-1, 1], (1, 1, 64)) * top).astype(np.float32)
        saved = stream.state
        if refused(stream, x):
            np.testing.assert_array_equal(stream.state["h_l0"], saved["h_l0"])
        assert all(np.isfinite(value).all() for value in stream.state.values())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, r"states are \['c_l0', 'h_l0'\], got \[\]"),
        (None, "the states are"),
        ({"h_l0": np.zeros((1, 2, 16), np.float32), "c_l0": np.zeros((1, 2, 16))}, "dtype float64"),
        ({"h_l0": np.zeros((1, 2, 16), np.float32), "c_l0": np.zeros((1, 3, 16), np.float32)},
         r"state c_l0 of this stream has shape \[1, 2, 16\]"),
        ({"h_l0": np.zeros((1, 2, 16), np.float32), "c_l0": np.full((1, 2, 16), np.nan, "f4")},
         "c_l0 holds nan"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_whole(
    model: Write, value: dict[str, np.ndarray], expected: str
) -> None:
    stream = load(model(cell="lstm"), "cpu").stream(2)
    stream.step(normal(1, 2, 3, 8))
    saved = stream.state
    with pytest.raises(InputError, match=expected):
        stream.state = value
    for name in saved:
        np.testing.assert_array_equal(stream.state[name], saved[name])


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_below_one_is_refused(model: Write, batch: int) -> None:
    with pytest.raises(InputError, match="batch must be at least 1"):
        load(model(), "cpu").stream(batch)


def test_ids_stream_through_an_embedding(model: Write) -> None:
    session = load(model(embedding=11), "cpu")
    ids = np.random.default_rng(0).integers(0, 11, (2, 12))
    whole, stream = session.run({"x": ids})["y"], session.stream(2)
    steps = [stream.step(ids[:, t : t + 1]) for t in range(12)]
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, atol=ATOL)


def test_an_id_that_does_not_exist_leaves_the_state(model: Write) -> None:
    stream = load(model(embedding=11), "cpu").stream(1)
    stream.step(np.array([[3, 4]]))
    saved = stream.state
    with pytest.raises(Exception, match="failed while running it"):
        stream.step(np.array([[99]]))
    np.testing.assert_array_equal(stream.state["h_l0"], saved["h_l0"])
