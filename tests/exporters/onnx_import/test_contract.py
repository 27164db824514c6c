"""States of recurrent nodes are found by tracing, whatever tensors they are packed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.onnx_cells import Graph, inferred, run
from helpers.recurrent_graphs import HIDDEN, WIDTH, drawn, layer, opened, shapes, streams
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.contract import Axes


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
def test_states_that_go_straight_to_a_node(op_type: str, tmp_path: Path) -> None:
    g, names = Graph(), ["h0", "c0"][: 2 if op_type == "LSTM" else 1]
    y, *last = layer(g, op_type, "x", names)
    g.add("Squeeze", y, g.ints(1), to="y")
    for name, value in zip(("hn", "cn"), last, strict=False):
        g.add("Identity", value, to=name)
    state = [1, "N", HIDDEN]
    model = g.model(
        {"x": ["T", "N", WIDTH], **dict.fromkeys(names, state)},
        {"y": ["T", "N", HIDDEN], **{f"{n[0]}n": state for n in names}},
    )
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [
        (name, f"{name[0]}n", 1) for name in names
    ]
    assert contract.stream.inputs == {"x": Axes(batch=1, time=0)}
    assert contract.stream.outputs == {"y": Axes(batch=1, time=0)}
    assert shapes(changed)["x"] == ["time", "batch", WIDTH]
    assert shapes(changed)["h0"] == shapes(changed)["hn"] == [1, "batch", HIDDEN]
    node = next(n for n in changed.graph.node if n.op_type == op_type)
    assert list(node.input[5:]) == names  # as the quantizer needs it
    assert list(node.output[1:]) == [f"{n[0]}n" for n in names]
    streams(model, {key: [1, 2, HIDDEN] for key in names}, drawn(7, 2, WIDTH), tmp_path)


def packed(packing: str, layers: int, batch: int | str) -> tuple[onnx.ModelProto, dict[str, list]]:
    """Return an LSTM stack with its states in one or two tensors."""
    g, sequence = Graph(), "x"
    last: dict[tuple[int, str], str] = {}
    given: dict[tuple[int, str], str] = {}
    places = [(at, kind) for at in range(layers) for kind in "hc"]
    if packing == "all":  # silero: [2 * layers, batch, hidden]
        parts = g.many("Split", "state", g.ints(*[1] * len(places)), outputs=len(places), axis=0)
        given = dict(zip(places, parts, strict=True))
    elif packing == "kinds":  # h and c each [layers, batch, hidden]
        for at, kind in places:
            part = g.add("Gather", kind, g.const(at, np.int64), axis=0)
            given[at, kind] = g.add("Unsqueeze", part, g.ints(0))
    else:  # [batch, layers, hidden, 2]
        for at, kind in places:
            k = "hc".index(kind)
            cut = g.add("Slice", "state", g.ints(at, k), g.ints(at + 1, k + 1), g.ints(1, 3))
            given[at, kind] = g.add("Unsqueeze", g.add("Squeeze", cut, g.ints(1, 3)), g.ints(0))
    for at in range(layers):
        size = HIDDEN if at else WIDTH
        y, h, c = layer(g, "LSTM", sequence, [given[at, "h"], given[at, "c"]], inputs=size,
                        name=f"layer{at}")  # fmt: skip
        last[at, "h"], last[at, "c"] = h, c
        sequence = g.add("Squeeze", y, g.ints(1), to="y" if at == layers - 1 else "")
    if packing == "all":
        g.add("Concat", *(last[place] for place in places), axis=0, to="stateN")
        states = {"state": [2 * layers, batch, HIDDEN]}
    elif packing == "kinds":
        for kind in "hc":
            g.add("Concat", *(last[at, kind] for at in range(layers)), axis=0, to=f"{kind}_out")
        states = {kind: [layers, batch, HIDDEN] for kind in "hc"}
    else:
        kinds = []
        for kind in "hc":
            rows = [g.add("Transpose", last[at, kind], perm=[1, 0, 2]) for at in range(layers)]
            kinds.append(g.add("Unsqueeze", g.add("Concat", *rows, axis=1), g.ints(-1)))
        g.add("Concat", *kinds, axis=3, to="stateN")
        states = {"state": [batch, layers, HIDDEN, 2]}
    outputs = {"stateN" if n == "state" else f"{n}_out": s for n, s in states.items()}
    x = [1, batch, WIDTH] if batch == 1 else ["time", batch, WIDTH]
    model = g.model({"x": x, **states}, {"y": [*x[:2], HIDDEN], **outputs})
    return model, states


@settings(max_examples=24, deadline=None)
@given(packing=st.sampled_from(["all", "kinds", "rows"]), layers=st.integers(1, 3),
       batch=st.sampled_from([1, "batch"]))  # fmt: skip
def test_packed_states_are_split(packing: str, layers: int, batch: int | str) -> None:
    model, states = packed(packing, layers, batch)
    changed, contract, notes = inferred(model)
    assert contract is not None
    assert len(contract.states) == 2 * layers
    assert all(shapes(changed)[s.input] == [1, "batch", HIDDEN] for s in contract.states)
    rng = np.random.default_rng(2)
    sizes = {n: [2 if isinstance(d, str) else d for d in s] for n, s in states.items()}
    values = {n: rng.standard_normal(s).astype(np.float32) for n, s in sizes.items()}
    x = drawn(1 if batch == 1 else 3, 1 if batch == 1 else 2, WIDTH)
    want = run(model, {"x": x, **values})
    pieces = {p.input: p for p in notes.pieces}
    moved = {
        s.input: values[pieces[s.input].original_input].reshape(-1)[pieces[s.input].index]
        if s.input in pieces
        else values[s.input]
        for s in contract.states
    }
    got = run(changed, {"x": x, **moved})
    np.testing.assert_allclose(got["y"], want["y"], rtol=0, atol=1e-5)
    for piece in notes.pieces:
        value = want[piece.original_output].reshape(-1)[piece.output_index]
        np.testing.assert_allclose(got[piece.output], value, rtol=0, atol=1e-5)


def test_packed_states_stream(tmp_path: Path) -> None:
    model, _ = packed("all", 2, "batch")
    streams(model, {"state": [4, 3, HIDDEN]}, drawn(8, 3, WIDTH), tmp_path)


def test_a_state_of_two_axes_gets_that_of_the_node(tmp_path: Path) -> None:
    g = Graph()
    x = g.add("Transpose", "x", perm=[1, 0, 2])
    y, h = layer(g, "GRU", x, [g.add("Unsqueeze", "h", g.ints(0))])
    g.add("Squeeze", h, g.ints(0), to="h_next")
    g.add("Transpose", g.add("Squeeze", y, g.ints(1)), perm=[1, 0, 2], to="y")
    model = g.model({"x": [1, 1, WIDTH], "h": [1, HIDDEN]},
                    {"y": [1, 1, HIDDEN], "h_next": [1, HIDDEN]})  # fmt: skip
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert [(s.input, s.output) for s in contract.states] == [("h", "h_next")]
    assert shapes(changed)["h"] == shapes(changed)["h_next"] == [1, "batch", HIDDEN]
    assert shapes(changed)["x"] == ["batch", "time", WIDTH]
    session = opened(changed, contract, tmp_path)
    x, state = drawn(1, 9, WIDTH), np.zeros((1, HIDDEN), np.float32)
    for t, got in enumerate(session.run({"x": x})["y"][0]):
        step = run(model, {"x": x[:, t : t + 1], "h": state})
        np.testing.assert_allclose(got, step["y"][0, 0], rtol=0, atol=1e-5)
        state = step["h_next"]


def test_the_state_may_be_the_last_step_of_all_outputs() -> None:
    g = Graph()
    y, _ = layer(g, "GRU", "x", ["h0"])
    g.add("Squeeze", y, g.ints(1), to="y")
    g.add("Gather", y, g.const(-1, np.int64), axis=0, to="hn")
    state = [1, "batch", HIDDEN]
    model = g.model({"x": ["time", "batch", WIDTH], "h0": state},
                    {"y": ["time", "batch", HIDDEN], "hn": state})  # fmt: skip
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert [s.output for s in contract.states] == ["hn"]
    node = next(n for n in changed.graph.node if n.op_type == "GRU")
    assert node.output[1] == "hn"


def two_layers(order: tuple[int, int], extra: bool = False) -> onnx.ModelProto:
    g = Graph()
    first, second = g.many("Split", "state", g.ints(1, 1), outputs=2, axis=0)
    y, h = layer(g, "GRU", "x", [first])
    z, k = layer(g, "GRU", g.add("Squeeze", y, g.ints(1)), [second], inputs=HIDDEN, name="other")
    out = g.add("Squeeze", z, g.ints(1), to="" if extra else "y")
    if extra:  # the state is read beside the nodes
        g.add("Add", out, g.add("ReduceMean", "state", g.ints(0)), to="y")
    g.add("Concat", *((h, k)[at] for at in order), axis=0, to="next")
    state = [2, "batch", HIDDEN]
    return g.model({"x": ["time", "batch", WIDTH], "state": state},
                   {"y": ["time", "batch", HIDDEN], "next": state})  # fmt: skip


def test_states_that_come_back_in_other_places_are_left_alone() -> None:
    _, contract, notes = inferred(two_layers((1, 0)))
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert any("in other places" in note for note in notes)


def test_a_packed_state_that_is_read_elsewhere_stays_whole() -> None:
    changed, contract, notes = inferred(two_layers((0, 1), extra=True))
    assert contract is not None
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [("state", "next", 1)]
    assert not notes.pieces
    assert shapes(changed)["state"] == [2, "batch", HIDDEN]


def test_two_outputs_with_the_state_need_a_word() -> None:
    g = Graph()
    y, h = layer(g, "GRU", "x", ["start"])
    g.add("Squeeze", y, g.ints(1), to="y")
    for name in ("one", "two"):
        g.add("Identity", h, to=name)
    state = [1, "batch", HIDDEN]
    model = g.model({"x": ["time", "batch", WIDTH], "start": state},
                    {"y": ["time", "batch", HIDDEN], "one": state, "two": state})  # fmt: skip
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert any("--state start=OUTPUT" in note for note in notes)
    _, contract, _ = inferred(model, start="two")
    assert contract is not None
    assert [(s.input, s.output) for s in contract.states] == [("start", "two")]
    assert set(contract.stream.outputs) == {"y", "one"}


def test_an_input_that_only_starts_a_layer_is_no_state() -> None:
    g = Graph()
    y, _ = layer(g, "GRU", "x", ["context"])
    g.add("Squeeze", y, g.ints(1), to="y")
    model = g.model({"x": ["time", "batch", WIDTH], "context": [1, "batch", HIDDEN]},
                    {"y": ["time", "batch", HIDDEN]})  # fmt: skip
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert contract.stream.inputs["context"] == Axes(batch=1, time=None)
    assert any("no output returns" in note for note in notes)


def test_bidirectional_states_are_found_and_the_model_does_not_stream() -> None:
    g = Graph()
    y, h = layer(g, "GRU", "x", ["h0"], direction="bidirectional")
    g.add("Identity", y, to="y")
    g.add("Identity", h, to="hn")
    state = [2, "batch", HIDDEN]
    model = g.model({"x": ["time", "batch", WIDTH], "h0": state},
                    {"y": ["time", 2, "batch", HIDDEN], "hn": state})  # fmt: skip
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.stream.causal
    assert [(s.input, s.batch_axis) for s in contract.states] == [("h0", 1)]
    assert any("later time steps" in note for note in notes)


@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_outputs_stay_where_all_of_them_are_states(op_type: str, tmp_path: Path) -> None:
    """A cell alone returns its state and nothing else, which then is the output, too.

    The h of every step is an output of the node, but of c there is the last one only.
    """
    g, names = Graph(), ["h", "c"][: 2 if op_type == "LSTM" else 1]
    _, *last = layer(g, op_type, g.add("Unsqueeze", "x", g.ints(0)),
                     [g.add("Unsqueeze", name, g.ints(0)) for name in names])  # fmt: skip
    for name, value in zip(names, last, strict=True):
        g.add("Squeeze", value, g.ints(0), to=f"{name}_next")
    state = ["batch", HIDDEN]
    model = g.model({"x": ["batch", WIDTH], **dict.fromkeys(names, state)},
                    {f"{name}_next": state for name in names})  # fmt: skip
    changed, contract, _ = inferred(model)
    assert contract is not None
    assert contract.stream.causal
    assert set(contract.stream.outputs) == {f"{name}_next" for name in names}
    time = 1 if op_type != "LSTM" else None
    assert contract.stream.inputs == {"x": Axes(batch=0, time=time)}
    stream = opened(changed, contract, tmp_path).stream(batch=2)
    values = {name: np.zeros((2, HIDDEN), np.float32) for name in names}
    for x in drawn(5, 2, WIDTH):
        want = run(model, {"x": x, **values})
        got = stream.step({"x": x if time is None else x[:, None]})
        got = got if isinstance(got, dict) else {"h_next": got}
        got = got if time is None else {name: value[:, 0] for name, value in got.items()}
        for name in names:
            np.testing.assert_allclose(got[f"{name}_next"], want[f"{name}_next"], atol=1e-5)
        values = {name: want[f"{name}_next"] for name in names}


def clamped(
    op_type: str, steps: int | str | None, names: dict[str, str], *, y: bool = True
) -> onnx.ModelProto:
    """Return a layer whose h is clamped behind it; ``names`` are those of h, then c, and of next.

    Without ``steps`` the input has no time axis.
    """
    g = Graph()
    x = "x" if steps is not None else g.add("Unsqueeze", "x", g.ints(0))
    given = [g.add("Unsqueeze", name, g.ints(0)) for name in names]
    _, *last = layer(g, op_type, x, given)
    last = [g.add("Squeeze", value, g.ints(0)) for value in last]
    last[0] = g.add("Clip", last[0], g.const(-0.1), g.const(0.1))
    for name, value in zip(names.values(), last, strict=True):
        g.add("Identity", value, to=name)
    g.add("MatMul", last[0], g.const(drawn(HIDDEN, WIDTH)), to="y")
    state = ["batch", HIDDEN]
    frame = ["batch", WIDTH] if steps is None else [steps, "batch", WIDTH]
    outputs = {"y": ["batch", WIDTH]} if y else {}
    return g.model({"x": frame, **dict.fromkeys(names, state)},
                   {**outputs, **dict.fromkeys(names.values(), state)})  # fmt: skip


KINDS = [("LSTM", {"h_in": "h_out", "c_in": "c_out"}), ("GRU", {"h_in": "h_out"})]


def clamped_streams(
    model: onnx.ModelProto, names: dict[str, str], folder: Path, **given: str
) -> None:
    """Check that h is a state, and that calls give what those of the original do."""
    changed, contract, _ = inferred(model, **given)
    assert contract is not None
    assert contract.stream.causal
    assert {(s.input, s.output) for s in contract.states} == set(names.items())
    assert list(contract.stream.inputs) == ["x"]
    stream = opened(changed, contract, folder).stream(batch=2)
    values = {name: np.zeros((2, HIDDEN), np.float32) for name in names}
    rank = len(shapes(model)["x"])
    for x in drawn(5, 2, WIDTH):
        frame = x if rank == 2 else x[None]
        want = run(model, {"x": frame, **values})
        got = stream.step({"x": frame})
        np.testing.assert_allclose(got["y"] if isinstance(got, dict) else got, want["y"], atol=1e-5)
        values = {name: want[target] for name, target in names.items()}


@pytest.mark.parametrize("steps", [None, 1])
@pytest.mark.parametrize(("op_type", "names"), KINDS)
def test_a_state_that_is_changed_behind_a_layer_of_one_step_is_found_by_name(
    op_type: str, names: dict[str, str], steps: int | None, tmp_path: Path
) -> None:
    model = clamped(op_type, steps, names)
    _, _, notes = inferred(model)
    assert any("'h_in' and output 'h_out' are taken for a state" in note for note in notes)
    assert not any("it stays an input" in note for note in notes)
    clamped_streams(model, names, tmp_path)
    clamped_streams(model, names, tmp_path, h_in="h_out")


@pytest.mark.parametrize("steps", [None, 1])
@pytest.mark.parametrize(("op_type", "names"), KINDS)
def test_such_a_state_without_fitting_names_needs_a_word(
    op_type: str, names: dict[str, str], steps: int | None, tmp_path: Path
) -> None:
    """Without it one of two states would be fed back and the other not."""
    names = {"start": "clamped", **{k: v for k, v in names.items() if k == "c_in"}}
    model = clamped(op_type, steps, names)
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.stream.causal
    assert "start" in contract.stream.inputs
    assert any("--state start=OUTPUT" in note for note in notes)
    assert any("does not stream" in note and "computed anew" in note for note in notes)
    clamped_streams(model, names, tmp_path, start="clamped")


def test_such_a_state_needs_a_word_where_nothing_else_comes_out() -> None:
    model = clamped("LSTM", 1, KINDS[0][1], y=False)
    _, contract, notes = inferred(model)
    assert contract is not None
    assert not contract.stream.causal
    assert any("--state h_in=h_out" in note for note in notes)


def test_a_state_that_is_changed_behind_several_steps_is_none() -> None:
    """Within a call the layer hands the unchanged one on."""
    _, contract, notes = inferred(clamped("GRU", "time", {"h_in": "h_out"}))
    assert contract is not None
    assert not contract.states
    assert not contract.stream.causal
    assert any("no output returns" in note for note in notes)


def test_a_long_chain_of_views_is_not_followed_and_breaks_nothing() -> None:
    g, name = Graph(), "h0"
    for _ in range(3000):
        name = g.add("Transpose", name, perm=[2, 1, 0])
    y, h = layer(g, "GRU", "x", [name])
    g.add("Squeeze", y, g.ints(1), to="y")
    g.add("Identity", h, to="hn")
    state = [1, "batch", HIDDEN]
    model = g.model({"x": ["time", "batch", WIDTH], "h0": state},
                    {"y": ["time", "batch", HIDDEN], "hn": state})  # fmt: skip
    _, contract, _ = inferred(model)
    assert contract is not None
    assert not contract.stream.causal or [s.input for s in contract.states] == ["h0"]
