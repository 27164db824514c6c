"""A Scan or Loop whose body is one step of a cell becomes the node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers.decomposed import Form, Layer, Steps
from helpers.onnx_cells import Graph
from helpers.recognised import FORMS, SEED, layers_in, layers_of, recognised
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise import recognise

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def body_of(
    form: Form, layer: Layer, *, c_first: bool = False
) -> tuple[Graph, list[str], list[str], str]:
    """Return a body, its state inputs and outputs, and what it gives for each step."""
    g = Graph("b.")
    h, c = Steps(g, form, layer).step("b.x", "b.h", "b.c")
    states, nexts = ["b.h"], [g.add("Identity", h, to="b.hn")]
    if c:
        states, nexts = [*states, "b.c"], [*nexts, g.add("Identity", c, to="b.cn")]
    y = g.add("Identity", h, to="b.y")
    if c_first:
        states, nexts = states[::-1], nexts[::-1]
    return g, states, nexts, y


def values(names: list[str], kind: int = FLOAT, shape: list[int] | None = None):
    return [helper.make_tensor_value_info(name, kind, shape) for name in names]


def scan(
    form: Form, layer: Layer, *, c_first: bool, axes: tuple[int, int], reverse: bool, inner: bool,
    batch: int | str = 2,
) -> onnx.ModelProto:  # fmt: skip
    body, states, nexts, y = body_of(form, layer, c_first=c_first)
    graph = helper.make_graph(
        body.nodes, "body", values([*states, "b.x"]), values([*nexts, y]),
        body.tensors if inner else [],
    )  # fmt: skip
    g = Graph()
    g.tensors += [] if inner else body.tensors
    first = [name.removeprefix("b.") for name in states]
    g.many(
        "Scan", *first, "x", outputs=[*(f"{name}n" for name in first), "y"], body=graph,
        num_scan_inputs=1, scan_input_axes=[axes[0]], scan_output_axes=[axes[1]],
        scan_input_directions=[int(reverse)], scan_output_directions=[int(reverse)],
    )  # fmt: skip
    hidden, width = layer.w.shape[1:]
    shape = {name: [batch, hidden] for name in first}
    lie = [[5, batch], [batch, 5]]
    last = {f"{name}n": size for name, size in shape.items()}
    return g.model({**shape, "x": [*lie[axes[0]], width]}, {**last, "y": [*lie[axes[1]], hidden]})


@settings(max_examples=60, deadline=None)
@given(form=FORMS, seed=SEED, c_first=st.booleans(), reverse=st.booleans(), inner=st.booleans(),
       axes=st.tuples(st.integers(0, 1), st.integers(0, 1)), width=st.sampled_from([3, 4]),
       batch=st.sampled_from([2, "batch"]))  # fmt: skip
def test_a_scan(
    form: Form, seed: int, c_first: bool, reverse: bool, inner: bool, axes: tuple[int, int],
    width: int, batch: int | str,
) -> None:  # fmt: skip
    (layer,) = layers_of(form, 1, width, 4, seed)
    model = scan(form, layer, c_first=c_first, axes=axes, reverse=reverse, inner=inner, batch=batch)
    changed, notes = recognised(model)
    (node,) = layers_in(changed)
    assert node.op_type == form.cell[:4].rstrip("01")
    directions = [a.s for a in node.attribute if a.name == "direction"]
    assert directions == ([b"reverse"] if reverse else [])
    assert not any(node.op_type == "Scan" for node in changed.graph.node)
    assert len(notes) == 1


def loop(form: Form, layer: Layer, trips: str, *, axis: int = 0, stop: bool = False):
    """Return a model with a Loop; ``trips``: how its number of steps is known."""
    body, states, nexts, y = body_of(form, layer)
    body.nodes.insert(0, helper.make_node("Gather", ["x", "b.i"], ["b.x"], axis=axis))
    going = "b.going"
    if stop:
        body.add("Less", "b.i", body.const(2, np.int64), to="b.more")
        going = "b.more"
    body.add("Identity", going, to="b.on")
    graph = helper.make_graph(
        body.nodes, "body",
        [*values(["b.i"], INT64, []), *values(["b.going"], BOOL, []), *values(states)],
        [*values(["b.on"], BOOL, []), *values([*nexts, y])], body.tensors,
    )  # fmt: skip
    g = Graph()
    count = {
        "constant": lambda: g.const(5, np.int64),
        "fewer": lambda: g.const(4, np.int64),
        "gather": lambda: g.add("Gather", g.add("Shape", "x"), g.const(axis, np.int64)),
        "batch": lambda: g.add("Gather", g.add("Shape", "x"), g.const(1 - axis, np.int64)),
        "slice": lambda: g.add("Squeeze", g.add("Slice", g.add("Shape", "x"), g.ints(axis),
                                                g.ints(axis + 1)), g.ints(0)),
    }[trips]()  # fmt: skip
    first = [name.removeprefix("b.") for name in states]
    g.many("Loop", count, g.const(True, bool), *first,
           outputs=[*(f"{name}n" for name in first), "y"], body=graph)  # fmt: skip
    hidden, width = layer.w.shape[1:]
    shape = {name: [2, hidden] for name in first}
    time = {"constant": 5, "fewer": 5}.get(trips, "time")
    steps: list[int | str] = [2, width]
    steps.insert(axis, time)
    last = {f"{name}n": s for name, s in shape.items()}
    return g.model({**shape, "x": steps}, {**last, "y": ["steps", 2, hidden]})


@pytest.mark.parametrize("cell", ["LSTM", "GRU0", "GRU1"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("trips", ["constant", "gather", "slice"])
def test_a_loop_over_all_steps(cell: str, trips: str, axis: int) -> None:
    form = Form(cell)
    (layer,) = layers_of(form, 1, 3, 4, 0)
    changed, _ = recognised(loop(form, layer, trips, axis=axis))
    assert [node.op_type for node in layers_in(changed)] == [cell[:4].rstrip("01")]
    assert not any(node.op_type == "Loop" for node in changed.graph.node)


@pytest.mark.parametrize("trips", ["fewer", "batch"])
def test_a_loop_over_something_else_stays(trips: str) -> None:
    (layer,) = layers_of(Form(), 1, 3, 4, 0)
    model = loop(Form(), layer, trips)
    assert recognise(model, Notes()) is model


def test_a_loop_that_may_stop_stays() -> None:
    (layer,) = layers_of(Form(), 1, 3, 4, 0)
    model = loop(Form(), layer, "gather", stop=True)
    assert recognise(model, Notes()) is model


def changed_body(change: str) -> onnx.ModelProto:
    form = Form()
    (layer,) = layers_of(form, 1, 3, 4, 0)
    model = scan(form, layer, c_first=False, axes=(0, 0), reverse=False, inner=True)
    body = next(a.g for a in model.graph.node[0].attribute if a.name == "body")
    if change == "clipped state":
        body.node.append(helper.make_node("Relu", [body.output[1].name], ["b.clipped"]))
        body.output[1].name = "b.clipped"
    elif change == "other output":
        body.node.append(helper.make_node("Relu", [body.output[2].name], ["b.other"]))
        body.output[2].name = "b.other"
    elif change == "cell state as output":
        body.node.append(helper.make_node("Identity", [body.output[1].name], ["b.other"]))
        body.output[2].name = "b.other"
    elif change == "states change places":
        first, second = body.output[0].name, body.output[1].name
        body.output[0].name, body.output[1].name = second, first
    elif change == "inputs changed first":
        for node in body.node:
            node.input[:] = ["b.seen" if name == "b.x" else name for name in node.input]
        body.node.insert(0, helper.make_node("Relu", ["b.x"], ["b.seen"]))
    else:
        node = next(n for n in body.node if n.op_type == "Sigmoid")
        node.op_type = change
    return model


@pytest.mark.parametrize(
    "change",
    ["clipped state", "cell state as output", "states change places", "Tanh", "HardSigmoid"],
)  # fmt: skip
def test_a_body_that_is_more_or_other_stays(change: str) -> None:
    model = changed_body(change)
    onnx.checker.check_model(model)
    assert recognise(model, Notes()) is model


@pytest.mark.parametrize("change", ["other output", "inputs changed first"])
def test_what_is_before_and_behind_the_cell_goes_over_all_steps(change: str) -> None:
    changed, _ = recognised(changed_body(change))
    kinds = [node.op_type for node in changed.graph.node]
    assert kinds.count("LSTM") == kinds.count("Relu") == 1
    assert "Scan" not in kinds


def rich(
    form: Form, layers: list[Layer], *, hoisted: str, axes: tuple[int, int], reverse: bool,
    batch: int | str,
) -> onnx.ModelProto:  # fmt: skip
    """Return a Scan over stacked layers between other operators; ``hoisted``: x @ W taken out."""
    body, g, x = Graph("b."), Graph(), "b.x"
    states, nexts = [], []
    width = layers[0].w.shape[2]
    sequence = "x"
    if hoisted:
        first = layers[0]
        w = np.concatenate(list(first.w)).T
        if hoisted == "turned":
            sequence = g.add("Transpose", sequence, perm=[1, 0, 2])
        sequence = g.add("MatMul", sequence, g.const(w))
        sequence = g.add("Add", g.const(first.wb.reshape(-1)), sequence)
        layers = [replace(first, wb=np.zeros_like(first.wb)), *layers[1:]]
    else:
        x = body.add("Mul", body.add("Tanh", x), body.const(0.5))
    for at, layer in enumerate(layers):
        h, c = f"b.h{at}", f"b.c{at}" if form.cell == "LSTM" else ""
        steps = Hoisted(body, form, layer) if hoisted and not at else Steps(body, form, layer)
        states += [h, *([c] if c else [])]
        h, c = steps.step(x, h, c)
        nexts += [body.add("Identity", h, to=f"b.h{at}n")]
        nexts += [body.add("Identity", c, to=f"b.c{at}n")] if c else []
        x = h
    hidden = form_hidden(layers[-1])
    body.add("Softmax", body.add("MatMul", x, body.const(np.eye(hidden) * 2)), to="b.y", axis=1)
    graph = helper.make_graph(
        body.nodes, "body", values([*states, "b.x"]), values([*nexts, "b.y"]), body.tensors
    )  # fmt: skip
    first_names = [name.removeprefix("b.") for name in states]
    along = 1 - axes[0] if hoisted == "turned" else axes[0]
    g.many(
        "Scan", *first_names, sequence, outputs=[*(f"{name}n" for name in first_names), "y"],
        body=graph, num_scan_inputs=1, scan_input_axes=[along], scan_output_axes=[axes[1]],
        scan_input_directions=[int(reverse)], scan_output_directions=[int(reverse)],
    )  # fmt: skip
    shape = {name: [batch, hidden] for name in first_names}
    lie = [[5, batch], [batch, 5]]
    last = {f"{name}n": size for name, size in shape.items()}
    return g.model({**shape, "x": [*lie[axes[0]], width]}, {**last, "y": [*lie[axes[1]], hidden]})


class Hoisted(Steps):
    """Steps that are given x @ W."""

    def linear(self, x, weights, bias, order):  # type: ignore[no-untyped-def]
        if x != "b.x":
            return super().linear(x, weights, bias, order)
        if len(order) > 1:
            return x
        first, behind = (self.g.ints((order[0] + more) * self.hidden) for more in (0, 1))
        return self.g.add("Slice", x, first, behind, self.g.ints(1))


def form_hidden(layer: Layer) -> int:
    return int(layer.w.shape[1])


@settings(max_examples=60, deadline=None)
@given(form=FORMS, seed=SEED, reverse=st.booleans(), count=st.integers(1, 2),
       axes=st.tuples(st.integers(0, 1), st.integers(0, 1)), width=st.sampled_from([3, 4]),
       batch=st.sampled_from([2, "batch"]))  # fmt: skip
def test_layers_between_other_operators(
    form: Form, seed: int, reverse: bool, count: int, axes: tuple[int, int], width: int,
    batch: int | str,
) -> None:  # fmt: skip
    layers = layers_of(form, count, width, 4, seed)
    model = rich(form, layers, hoisted="", axes=axes, reverse=reverse, batch=batch)
    changed, notes = recognised(model)
    assert len(layers_in(changed)) == count
    assert not any(node.op_type == "Scan" for node in changed.graph.node)
    assert len(notes) == 1


@settings(max_examples=60, deadline=None)
@given(form=FORMS, seed=SEED, reverse=st.booleans(), count=st.integers(1, 2),
       hoisted=st.sampled_from(["straight", "turned"]),
       axes=st.tuples(st.integers(0, 1), st.integers(0, 1)), width=st.sampled_from([3, 4]),
       batch=st.sampled_from([2, "batch"]))  # fmt: skip
def test_a_product_taken_out_of_the_loop(
    form: Form, seed: int, reverse: bool, count: int, hoisted: str, axes: tuple[int, int],
    width: int, batch: int | str,
) -> None:  # fmt: skip
    form = replace(form, fused=False, gemm=False, bias="h", order=tuple(range(4)))
    form = replace(form, cut="separate") if form.cell != "LSTM" else form
    layers = layers_of(form, count, width, 4, seed)
    model = rich(form, layers, hoisted=hoisted, axes=axes, reverse=reverse, batch=batch)
    changed, _ = recognised(model)
    found = layers_in(changed)
    assert len(found) == count
    sizes = {tensor.name: list(tensor.dims) for tensor in changed.graph.initializer}
    assert [sizes[node.input[1]][2] for node in found] == [width, 4][:count]
    assert not any(node.op_type == "Scan" for node in changed.graph.node)


@pytest.mark.parametrize("between", ["Tanh", "variable"])
def test_sums_that_are_no_product_outside_stay(between: str) -> None:
    """Only a product with constant weights, as it is, is one that a layer does."""
    form = Form(bias="h")
    model = rich(form, layers_of(form, 1, 3, 4, 0), hoisted="straight", axes=(0, 0),
                 reverse=False, batch=2)  # fmt: skip
    scan_node = model.graph.node[-1]
    if between == "Tanh":
        inner = scan_node.input[-1]
        scan_node.input[-1] = "squashed"
        model.graph.node.insert(2, helper.make_node("Tanh", [inner], ["squashed"]))
    else:
        weight = next(t for t in model.graph.initializer if list(t.dims) == [3, 16])
        model.graph.input.append(helper.make_tensor_value_info(weight.name, FLOAT, [3, 16]))
    assert recognise(model, Notes()) is model


def test_directions_that_differ_stay() -> None:
    (layer,) = layers_of(Form(), 1, 3, 4, 0)
    model = scan(Form(), layer, c_first=False, axes=(0, 0), reverse=False, inner=True)
    for entry in model.graph.node[0].attribute:
        if entry.name == "scan_output_directions":
            entry.ints[:] = [1]
    assert recognise(model, Notes()) is model


def test_weights_that_the_outer_graph_computes_stay() -> None:
    form = replace(Form(), cut="separate")
    (layer,) = layers_of(form, 1, 3, 4, 0)
    model = scan(form, layer, c_first=False, axes=(0, 0), reverse=False, inner=False)
    tensor = next(t for t in model.graph.initializer if list(t.dims) == [3, 4])
    name = tensor.name
    tensor.name = "stored"
    model.graph.node.insert(0, helper.make_node("Abs", ["stored"], [name]))
    assert recognise(model, Notes()) is model
