"""What only looks like a cell, or can be no node, stays as it is."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from helpers.decomposed import Form, Layer, Steps, stacked, taken_apart
from helpers.onnx_cells import Graph
from helpers.recognised import SEED, layers_in, layers_of, recognised
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise import recognise

SHAPES = {"x": [2, 3], "h": [2, 4], "c": [2, 4]}
CELLS = st.sampled_from(["LSTM", "GRU0", "GRU1"])


def stays(model: onnx.ModelProto) -> Notes:
    onnx.checker.check_model(model, full_check=True)
    notes = Notes()
    assert recognise(model, notes) is model
    return notes


def one_step(form: Form, seed: int = 0) -> tuple[Graph, onnx.ModelProto]:
    g = Graph()
    (layer,) = layers_of(form, 1, 3, 4, seed)
    h, c = Steps(g, form, layer).step("x", "h", "c")
    g.add("Identity", h, to="y")
    shapes = {name: SHAPES[name] for name in ("x", "h", *(["c"] if c else []))}
    return g, g.model(shapes, {"y": [2, 4]})


@settings(max_examples=60, deadline=None)
@given(cell=CELLS, at=st.integers(0, 4), other=st.sampled_from(
    ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Identity"]), seed=SEED)  # fmt: skip
def test_another_activation(cell: str, at: int, other: str, seed: int) -> None:
    _, model = one_step(Form(cell), seed)
    nodes = [n for n in model.graph.node if n.op_type in ("Sigmoid", "Tanh")]
    node = nodes[at % len(nodes)]
    if node.op_type != other:
        node.op_type = other
        stays(model)


@settings(max_examples=40, deadline=None)
@given(cell=CELLS, at=st.integers(0, 2), what=st.sampled_from(["slope", "offset", "top"]),
       seed=SEED)  # fmt: skip
def test_gates_with_different_hard_sigmoids(cell: str, at: int, what: str, seed: int) -> None:
    g, model = one_step(Form(cell, squash="Clip", cut="separate"), seed)
    kind = {"slope": "Mul", "offset": "Add", "top": "Clip"}[what]
    made = {node.output[0]: node for node in model.graph.node}
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    clip = clips[at % len(clips)]
    line = made[clip.input[0]]
    node = {"Clip": clip, "Add": line, "Mul": made[line.input[0]]}[kind]
    assert node.op_type == kind
    node.input[2 if kind == "Clip" else 1] = g.const(np.array(0.4))
    model.graph.initializer.append(g.tensors[-1])
    stays(model)


def test_the_rest_of_a_lopsided_hard_sigmoid_is_no_gate() -> None:
    """1 - clip(a x + b) = clip(-a x + 1 - b), but all gates of a node have one b."""
    _, model = one_step(Form("GRU0", squash="HardSigmoid", blend="(1-z)*h+z*n"))
    for node in model.graph.node:
        if node.op_type == "HardSigmoid":
            node.attribute.append(onnx.helper.make_attribute("beta", 0.4))
    stays(model)


@pytest.mark.parametrize(
    ("blend", "change"),
    [("n-z*(n-h)", "sign"), *product(["n-z*n+z*h", "z*h+n-z*n", "h-z*h+z*n"], ["sign", "gate"])],
)  # fmt: skip
def test_blends_that_are_none(blend: str, change: str) -> None:
    _, model = one_step(Form("GRU1", blend=blend))
    made = {node.output[0]: node for node in model.graph.node}
    last = made[model.graph.node[-1].input[0]]
    if change == "sign":
        last.op_type = "Add" if last.op_type == "Sub" else "Sub"
    else:
        scaled = next(made[name] for name in reversed(last.input) if made[name].op_type == "Mul")
        reset = [node for node in model.graph.node if node.op_type == "Sigmoid"][1]
        scaled.input[0] = reset.output[0]
    stays(model)


@settings(max_examples=40, deadline=None)
@given(cell=CELLS, fused=st.booleans(), at=st.integers(0, 2), from_c=st.booleans(), seed=SEED)
def test_a_gate_that_reads_more(cell: str, fused: bool, at: int, from_c: bool, seed: int) -> None:
    """A peephole: a gate's sum has ``p * c`` or ``p * h`` in it."""
    g, model = one_step(Form(cell, cut="separate", fused=fused), seed)
    nodes = list(model.graph.node)
    gates = [n for n in nodes if n.op_type == "Sigmoid"]
    node = gates[at % len(gates)]
    place = nodes.index(node)
    state = "c" if from_c and cell == "LSTM" else "h"
    peep = g.const(np.linspace(-0.5, 0.5, 4))
    model.graph.initializer.append(g.tensors[-1])
    more = [onnx.helper.make_node("Mul", [state, peep], ["peep"]),
            onnx.helper.make_node("Add", [node.input[0], "peep"], ["seen"])]  # fmt: skip
    node.input[0] = "seen"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *more, *nodes[place:]])
    stays(model)


@settings(max_examples=30, deadline=None)
@given(cell=CELLS, seed=SEED, what=st.sampled_from(["w", "r", "wb"]), at=st.integers(1, 2))
def test_a_step_with_other_weights(cell: str, seed: int, what: str, at: int) -> None:
    form = Form(cell)
    (layer,) = layers_of(form, 1, 3, 4, seed)
    arrays = {name: getattr(layer, name).copy() for name in ("w", "r", "wb", "rb")}
    arrays[what][0, 0] += 0.25
    g, made = Graph(), []
    writers = [Steps(g, form, layer), Steps(g, form, Layer(**arrays))]
    h, c = "h", "c" if cell == "LSTM" else ""
    for step, x in enumerate(taken_apart(g, form, "s", 3)):
        h, c = writers[step >= at].step(x, h, c)
        made.append(h)
    stacked(g, form, made, "y")
    shapes = {"s": [3, 2, 3], **{n: SHAPES[n] for n in ("h", *(["c"] if c else []))}}
    (note,) = stays(g.model(shapes, {"y": [3, 2, 4]}))
    assert "3 steps of" in note
    assert "no sequence of one layer" in note


@pytest.mark.parametrize("cell", ["LSTM", "GRU0", "GRU1"])
@pytest.mark.parametrize("same", [True, False], ids=["same weights", "other weights"])
def test_a_state_that_two_steps_start_from(cell: str, same: bool) -> None:
    form, g = Form(cell), Graph()
    layers = layers_of(form, 1, 3, 4, 0) + layers_of(form, 1, 3, 4, 0 if same else 1)
    c = "c" if cell == "LSTM" else ""
    made = [Steps(g, form, layer).step(x, "h", c)[0] for layer, x in zip(layers, "xz", strict=True)]
    stacked(g, form, made, "y")
    shapes = {"x": [2, 3], "z": [2, 3], "h": [2, 4], **({"c": [2, 4]} if c else {})}
    (note,) = stays(g.model(shapes, {"y": [2, 2, 4]}))
    assert "shares a state" in note


@pytest.mark.parametrize("cell", ["LSTM", "GRU0", "GRU1"])
def test_inputs_made_from_earlier_outputs(cell: str) -> None:
    """A decoder that is fed its own output: no sequence is there before the first step."""
    form, g = Form(cell), Graph()
    (layer,) = layers_of(form, 1, 4, 4, 0)
    writer = Steps(g, form, layer)
    x, h, c, made = g.add("Relu", "x"), "h", "c" if cell == "LSTM" else "", []
    for _ in range(3):
        h, c = writer.step(x, h, c)
        x = g.add("Relu", h)
        made.append(x)
    stacked(g, form, made, "y")
    shapes = {"x": [2, 4], "h": [2, 4], **({"c": [2, 4]} if cell == "LSTM" else {})}
    (note,) = stays(g.model(shapes, {"y": [3, 2, 4]}))
    assert "outputs as inputs" in note


def test_layers_that_feed_each_other() -> None:
    """Each of two layers reads the other's last output, and neither its own."""
    form, g = Form("GRU1"), Graph()
    writers = [Steps(g, form, layer) for layer in layers_of(form, 2, 4, 4, 0)]
    h, made = ["a", "b"], []
    xs = [taken_apart(g, form, "s", 2), taken_apart(g, form, "t", 2)]
    for step in range(2):
        fed = [g.add("Add", xs[k][step], h[1 - k]) if step else xs[k][step] for k in range(2)]
        h = [writers[k].step(fed[k], h[k])[0] for k in range(2)]
        made += h
    stacked(g, form, made, "y")
    pair, state = [2, 2, 4], [2, 4]
    notes = stays(g.model({"s": pair, "t": pair, "a": state, "b": state}, {"y": [4, 2, 4]}))
    assert len(notes) == 2


@pytest.mark.parametrize("value", [0.5, 2.0, [1.0, 1.0, 1.0, 0.0]])
def test_a_blend_that_is_none(value: object) -> None:
    _, model = one_step(Form("GRU1"))
    sub = next(node for node in model.graph.node if node.op_type == "Sub")
    for tensor in model.graph.initializer:
        if tensor.name == sub.input[0]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(value, np.float32), tensor.name))
    stays(model)


@pytest.mark.parametrize("cell", ["GRU0", "GRU1"])
def test_a_blend_with_another_gate_or_state(cell: str) -> None:
    _, model = one_step(Form(cell))
    sub = next(node for node in model.graph.node if node.op_type == "Sub")
    first, second = (n.output[0] for n in model.graph.node if n.op_type == "Sigmoid")
    sub.input[1] = second if sub.input[1] == first else first
    stays(model)
    _g, model = one_step(Form(cell))
    model.graph.node.insert(0, onnx.helper.make_node("Neg", ["h"], ["other"]))
    add = [node for node in model.graph.node if node.op_type == "Add"][-1]
    mul = next(node for node in model.graph.node if node.output[0] == add.input[0])
    mul.input[:] = ["other" if name == "h" else name for name in mul.input]
    stays(model)


def test_weights_that_are_inputs_and_other_types() -> None:
    _, model = one_step(Form())
    tensor = next(t for t in model.graph.initializer if list(t.dims) == [4, 16])
    model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, [4, 16]))
    stays(model)
    _, model = one_step(Form())
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float64), tensor.name))
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    stays(model)


def test_a_state_that_is_spread_over_the_batch() -> None:
    _, model = one_step(Form())
    for entry in model.graph.input:
        if entry.name != "x":
            entry.type.tensor_type.shape.dim[0].dim_value = 1
    stays(model)


def test_a_node_beside_a_near_miss() -> None:
    """The second of two layers clips its cell state; the first is put back all the same."""
    form, g = Form(), Graph()
    first, second = (Steps(g, form, layer) for layer in layers_of(form, 2, 3, 4, 0))
    h, _ = first.step("x", "h", "c")
    gate = second.gates(h, "k", form.order)
    i, o, f = (g.add("Sigmoid", gate[at]) for at in range(3))
    total = g.add("Add", g.add("Mul", f, "d"), g.add("Mul", i, g.add("Tanh", gate[3])))
    clipped = g.add("Clip", total, g.const(-0.5), g.const(0.5))
    g.add("Mul", o, g.add("Tanh", clipped), to="y")
    model = g.model({**SHAPES, "k": [2, 4], "d": [2, 4]}, {"y": [2, 4]})
    changed, notes = recognised(model)
    assert (len(layers_in(changed)), len(notes)) == (1, 1)


def test_a_long_chain_of_sums_costs_no_time() -> None:
    """A graph made to be slow: each value is the sum of the one before with itself."""
    g, value = Graph(), "x"
    w = g.const(np.eye(4))
    for _ in range(400):
        value = g.add("Add", value, g.add("MatMul", value, w))
        value = g.add("Add", value, value)
    g.add("Tanh", value, to="y")
    stays(g.model({"x": [2, 4]}, {"y": [2, 4]}))
