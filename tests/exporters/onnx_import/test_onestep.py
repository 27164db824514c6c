"""A model of one time step takes any number of steps in a call, and gives the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.decomposed import Form, Layer, Steps
from helpers.onnx_cells import Graph, inferred, run
from helpers.recurrent_graphs import HIDDEN, WIDTH, drawn, layer, opened, shapes
from hypothesis import given, settings
from hypothesis import strategies as st

import edgernn
from edgernn.contract import Axes
from edgernn.streaming import run_in_chunks

Op = Callable[[Graph, str], str]
STEPS = 5
FRAMES = {"none": ["B", WIDTH], "behind": ["B", 1, WIDTH], "last": ["B", WIDTH, 1],
          "two": ["B", 1, 1, WIDTH]}  # fmt: skip


def dropped(g: Graph, x: str, frame: str, how: str) -> str:
    """Return x as [batch, in]."""
    axes = [at for at, size in enumerate(FRAMES[frame]) if size == 1]
    if not axes:
        return x
    if how == "Reshape":
        return g.add("Reshape", x, g.ints(0, WIDTH))
    if how == "Squeeze":
        return g.add("Squeeze", x, g.ints(*axes))
    for at in reversed(axes):
        if how == "Slice":
            part = g.add("Slice", x, g.ints(0), g.ints(1), g.ints(at))
            x = g.add("Squeeze", part, g.ints(at))
        else:
            x = g.add("Gather", x, g.const(-1 if how == "last" else 0, np.int64), axis=at)
    return x


def added(g: Graph, y: str, frame: str, how: str, batch: int | str) -> str:
    """Return y [batch, in] as the frame lies."""
    axes = [at for at, size in enumerate(FRAMES[frame]) if size == 1]
    if not axes:
        return y
    if how == "Reshape":
        size = -1 if batch == "batch" else int(batch)
        return g.add("Reshape", y, g.ints(*(size if s == "B" else s for s in FRAMES[frame])))
    return g.add("Unsqueeze", y, g.ints(*axes))


def dense(g: Graph, x: str) -> str:
    return g.add("Gemm", x, g.const(drawn(WIDTH, WIDTH)), g.const(drawn(WIDTH)), transB=1,
                 alpha=0.5, beta=2.0)  # fmt: skip


def product(g: Graph, x: str) -> str:
    return g.add("Add", g.const(drawn(WIDTH)), g.add("MatMul", x, g.const(drawn(WIDTH, WIDTH))))


def normal(g: Graph, x: str) -> str:
    return g.add("LayerNormalization", x, g.const(drawn(WIDTH)), axis=1)


def statistics(g: Graph, x: str) -> str:
    mean = g.add("ReduceMean", x, g.ints(1), keepdims=0)
    spread = g.add("ReduceMax", x, g.ints(-1))
    return g.add("Sub", g.add("Sub", x, g.add("Unsqueeze", mean, g.ints(1))), spread)


def pieces(g: Graph, x: str) -> str:
    one, rest = g.many("Split", x, g.ints(1, WIDTH - 1), outputs=2, axis=1)
    soft = g.add("Softmax", rest, axis=1)
    cut = g.add("Slice", soft, g.ints(1), g.ints(WIDTH), g.ints(-1))
    taken = g.add("Gather", x, g.ints(WIDTH - 1), axis=1)
    return g.add("Concat", cut, taken, one, axis=1)


def turned(g: Graph, x: str) -> str:
    columns = g.add("Transpose", x, perm=[1, 0])
    return g.add("Transpose", g.add("Mul", columns, g.const(drawn(WIDTH, 1))), perm=[1, 0])


def spread(g: Graph, x: str) -> str:
    wide = g.add("Unsqueeze", x, g.ints(2))
    wide = g.add("Mul", g.add("Expand", wide, g.ints(1, WIDTH, 2)), g.const(drawn(1, 1, 2)))
    return g.add("ReduceSum", wide, g.ints(2), keepdims=0)


def heads(g: Graph, x: str) -> str:
    parts = g.add("Reshape", g.add("Concat", x, x, axis=1), g.ints(0, 2, WIDTH))
    scores = g.add("MatMul", parts, g.add("Transpose", parts, perm=[0, 2, 1]))
    mixed = g.add("MatMul", g.add("Softmax", scores), parts)
    return g.add("Gather", mixed, g.const(1, np.int64), axis=1)


def sizes(g: Graph, x: str) -> str:
    near = g.add("Clip", x, g.const(-0.5), g.const(0.5))
    return g.add("Reshape", near, g.add("Shape", x))


OPS: dict[str, Op] = {f.__name__: f for f in (
    dense, product, normal, statistics, pieces, turned, spread, heads, sizes)}  # fmt: skip


def model_of(
    frame: str, drop: str, add: str, cell: str, ops: list[Op], batch: int | str, *, seed: int = 0,
    native: bool = True, end: Op | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """Return ``x, h, c -> y, hn, cn`` of one step, with ``y`` gated by ``x``."""
    g = Graph()
    x = dropped(g, "x", frame, drop)
    for op in ops:
        x = op(g, x)
    names = ["h", "c"][: 2 if cell == "LSTM" else 1]
    if native:
        _, *last = layer(g, cell, g.add("Unsqueeze", x, g.ints(0)),
                         [g.add("Unsqueeze", name, g.ints(0)) for name in names])  # fmt: skip
        states = [g.add("Squeeze", value, g.ints(0), to=f"{name}n")
                  for name, value in zip(names, last, strict=True)]  # fmt: skip
    else:
        gates = {"LSTM": 4}.get(cell, 3)
        weights = Layer.random(np.random.default_rng(seed), gates, WIDTH, HIDDEN)
        form = Form(cell if cell == "LSTM" else "GRU1", gemm=True)
        h, c = Steps(g, form, weights).step(x, "h", "c")
        states = [g.add("Identity", v, to=f"{name}n")
                  for name, v in zip(names, (h, c), strict=False)]  # fmt: skip
    y = g.add("MatMul", states[0], g.const(drawn(HIDDEN, WIDTH)))
    for op in reversed(ops):
        y = op(g, y)
    y = end(g, y) if end else y
    gate = added(g, g.add("Sigmoid", y), frame, add, batch)
    g.add("Mul", "x", gate, to="y")
    shape = [batch if size == "B" else size for size in FRAMES[frame]]
    state = {name: [batch, HIDDEN] for name in names}
    return g.model({"x": shape, **state}, {"y": shape, **{f"{n}n": s for n, s in state.items()}})


def step_by_step(model: onnx.ModelProto, frames: list[np.ndarray]) -> np.ndarray:
    names = [value.name for value in model.graph.input][1:]
    states = {name: np.zeros((len(frames[0]), HIDDEN), np.float32) for name in names}
    results = []
    for x in frames:
        found = run(model, {"x": x, **states})
        states = {name: found[f"{name}n"] for name in names}
        results.append(found["y"])
    return np.stack(results)


@settings(max_examples=80, deadline=None)
@given(
    frame=st.sampled_from(list(FRAMES)),
    drop=st.sampled_from(["Gather", "last", "Slice", "Squeeze", "Reshape"]),
    add=st.sampled_from(["Unsqueeze", "Reshape"]),
    cell=st.sampled_from(["LSTM", "GRU", "RNN"]),
    ops=st.lists(st.sampled_from(list(OPS)), max_size=3),
    batch=st.sampled_from([1, 2, "batch"]),
    native=st.booleans(),
)
def test_a_frame_at_a_time(
    frame: str, drop: str, add: str, cell: str, ops: list[str], batch: int | str, native: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    native = native or cell == "RNN"
    model = model_of(frame, drop, add, cell, [OPS[op] for op in ops], batch, native=native)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    time, out = contract.stream.inputs["x"].time, contract.stream.outputs["y"].time
    assert time is not None, notes
    assert out is not None
    assert frame == "none" or FRAMES[frame][time] == FRAMES[frame][out] == 1
    assert shapes(changed)["x"][time] == shapes(changed)["y"][out] == "time"
    rows = 2 if batch == "batch" else int(batch)
    shape = [rows if size == "B" else size for size in FRAMES[frame]]
    rng = np.random.default_rng(3)
    frames = [rng.standard_normal(shape).astype(np.float32) for _ in range(STEPS)]
    want = step_by_step(model, frames)
    session = opened(changed, contract, tmp_path_factory.mktemp("model"))
    joined = np.stack(frames, 1) if frame == "none" else np.concatenate(frames, time)
    got = session.run({"x": joined})["y"]
    expected = np.stack(want, 1) if frame == "none" else np.concatenate(want, out)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    for chunk in (1, 3):
        np.testing.assert_allclose(
            run_in_chunks(session, {"x": joined}, chunk)["y"], expected, rtol=0, atol=1e-5
        )


def test_the_batch_becomes_dynamic_too() -> None:
    for frame in ("none", "behind"):
        model = model_of(frame, "Gather", "Unsqueeze", "GRU", [dense, product], 1)
        changed, contract, notes = inferred(model)
        assert contract is not None
        assert contract.stream.inputs == {"x": Axes(batch=0, time=1)}
        assert shapes(changed)["x"] == ["batch", "time", WIDTH], notes


def test_a_new_axis_is_said_and_one_of_size_1_is_not() -> None:
    _, _, notes = inferred(model_of("none", "", "", "LSTM", [dense], "batch"))
    assert any("'x' and 'y' have a time axis behind the batch now" in note for note in notes)
    _, _, notes = inferred(model_of("behind", "Gather", "Unsqueeze", "LSTM", [dense], "batch"))
    assert not any("time axis" in note for note in notes)


def convolved(g: Graph, x: str) -> str:
    rows = g.add("Unsqueeze", x, g.ints(1))
    rows = g.add("Conv", rows, g.const(np.ones((1, 1, 3))), pads=[1, 1])
    return g.add("Squeeze", rows, g.ints(1))


def of_the_cell_state(g: Graph, y: str) -> str:
    return g.add("MatMul", "cn", g.const(drawn(HIDDEN, WIDTH)))


def of_the_old_state(g: Graph, y: str) -> str:
    return g.add("MatMul", "h", g.const(drawn(HIDDEN, WIDTH)))


def along_features(g: Graph, y: str) -> str:
    """A layer over the features of a frame, as in dual-path models."""
    rows = g.add("Unsqueeze", g.add("Transpose", y, perm=[1, 0]), g.ints(2))
    over, *_ = layer(g, "GRU", rows, [], inputs=1, name="inner", direction="bidirectional")
    summed = g.add("ReduceSum", over, g.ints(1, 3), keepdims=0)
    return g.add("Transpose", summed, perm=[1, 0])


@pytest.mark.parametrize(
    ("end", "word"),
    [
        (convolved, "Conv"),
        (of_the_cell_state, "cell state"),
        (of_the_old_state, "state"),
    ],
)
def test_what_is_no_such_model_keeps_its_single_step(end: Op, word: str, tmp_path: Path) -> None:
    model = model_of("none", "", "", "LSTM", [], "batch", end=end)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert contract.stream.inputs == {"x": Axes(batch=0, time=None)}
    assert any("one step in a call" in note and word in note for note in notes)
    frames = [drawn(2, WIDTH) * (at + 1) for at in range(STEPS)]
    stream = opened(changed, contract, tmp_path).stream(batch=2)
    for x, want in zip(frames, step_by_step(model, frames), strict=True):
        got = stream.step({"x": x})
        np.testing.assert_allclose(got["y"] if isinstance(got, dict) else got, want, atol=1e-5)


def test_a_layer_over_something_else_is_named() -> None:
    model = model_of("none", "", "", "LSTM", [], "batch", end=along_features)
    changed, _, notes = inferred(model)
    assert shapes(changed)["x"] == ["batch", WIDTH]
    assert any("one step in a call: GRU inner" in note for note in notes)


def test_an_input_without_batch_is_the_same_in_all_steps(tmp_path: Path) -> None:
    model = model_of("none", "", "", "GRU", [dense], "batch")
    model.graph.input.append(onnx.helper.make_tensor_value_info("gain", 1, []))
    last = model.graph.node[-1]
    last.output[0] = "quiet"
    model.graph.node.append(onnx.helper.make_node("Mul", ["quiet", "gain"], ["y"]))
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert shapes(changed)["gain"] == []
    session = opened(changed, contract, tmp_path)
    x = drawn(2, STEPS, WIDTH)
    one = session.run({"x": x, "gain": np.array(1, np.float32)})["y"]
    np.testing.assert_allclose(session.run({"x": x, "gain": np.array(3, np.float32)})["y"], 3 * one,
                               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("frame", ["none", "behind"])
def test_an_import_is_proven_against_the_single_step(frame: str, tmp_path: Path) -> None:
    model = model_of(frame, "Gather", "Unsqueeze", "LSTM", [dense, normal], 1, native=False)
    onnx.save(model, tmp_path / "theirs.onnx")
    result = edgernn.import_onnx(tmp_path / "theirs.onnx", tmp_path / "ours.onnx")
    assert result.proof is not None
    assert result.proof.steps == 1000
    session = edgernn.load(tmp_path / "ours.onnx", target="cpu", threads=1)
    assert session.run({"x": drawn(3, STEPS, WIDTH)})["y"].shape == (3, STEPS, WIDTH)
