"""Decomposed cells become nodes again, in whatever form they are written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers.decomposed import Form, Layer, Steps, stacked, taken_apart, unrolled
from helpers.onnx_cells import Graph
from helpers.recognised import FORMS, SEED, layers_in, layers_of, recognised
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.recognise import recognise


@settings(max_examples=120, deadline=None)
@given(
    form=FORMS,
    steps=st.integers(1, 4),
    count=st.integers(1, 3),
    seed=SEED,
    batch=st.sampled_from([1, 2, "batch"]),
    sizes=st.sampled_from([(3, 5), (5, 2), (1, 4)]),
)
def test_each_layer_becomes_one_node(
    form: Form, steps: int, count: int, seed: int, batch: int | str, sizes: tuple[int, int]
) -> None:
    model = unrolled(form, layers_of(form, count, *sizes, seed), steps, batch)
    changed, notes = recognised(model)
    layers = layers_in(changed)
    assert [node.op_type for node in layers] == [form.cell[:4].rstrip("01")] * count
    assert len(notes) == count
    assert all(f"{steps} step" in note for note in notes)
    left = {node.op_type for node in changed.graph.node} - {"LSTM", "GRU"}
    assert left <= {"Transpose", "Squeeze", "Unsqueeze", "Identity", "Gather", "Concat", "Split",
                    "Slice"}  # fmt: skip


@pytest.mark.parametrize("form", [Form(), Form(steps="Gather", batch_first=True), Form("GRU1")])
def test_a_sequence_is_not_taken_apart_any_more(form: Form) -> None:
    changed, _ = recognised(unrolled(form, layers_of(form, 2, 3, 4, 0), 3))
    kinds = [node.op_type for node in changed.graph.node]
    assert not {"Split", "Slice", "Gather", "Concat"} & set(kinds)


@pytest.mark.parametrize("cell", ["LSTM", "GRU0", "GRU1"])
def test_inputs_as_wide_as_the_state_are_told_apart(cell: str) -> None:
    """Over several steps h is what the step before made; at one step of a second layer, what is
    not computed."""
    form = Form(cell)
    changed, _ = recognised(unrolled(form, layers_of(form, 2, 4, 4, 0), 2))
    assert len(layers_in(changed)) == 2


def test_two_readings_leave_a_step_alone() -> None:
    """One step of inputs as wide as the state, with everything an input: x and h look alike."""
    (layer,) = layers_of(Form(), 1, 4, 4, 0)
    g = Graph()
    h, c = Steps(g, Form(), layer).step("x", "h", "c")
    g.add("Identity", h, to="y")
    g.add("Identity", c, to="d")
    shape = [2, 4]
    model = g.model({"x": shape, "h": shape, "c": shape}, {"y": shape, "d": shape})
    assert recognise(model, Notes()) is model


def test_names_come_from_paths() -> None:
    (layer,) = layers_of(Form(), 1, 3, 4, 0)
    g = Graph()
    _h, _ = Steps(g, Form(), layer).step("x", "h", "c")
    g.nodes[-1].output[0] = "model/encoder/mul_2:0"
    g.add("Identity", "model/encoder/mul_2:0", to="y")
    model = g.model({"x": [2, 3], "h": [2, 4], "c": [2, 4]}, {"y": [2, 4]})
    changed, _ = recognised(model)
    assert [node.name for node in layers_in(changed)] == ["encoder"]


def test_states_between_the_steps_may_be_read() -> None:
    """Cell states of earlier steps are no output of a node: their operators stay beside it."""
    form = Form()
    (layer,) = layers_of(form, 1, 3, 4, 0)
    g = Graph()
    writer = Steps(g, form, layer)
    h, c, kept = "h", "c", []
    for x in taken_apart(g, form, "x", 3):
        h, c = writer.step(x, h, c)
        kept += [h, c]
    stacked(g, form, kept, "y")
    model = g.model({"x": [3, 2, 3], "h": [2, 4], "c": [2, 4]}, {"y": [6, 2, 4]})
    changed, _ = recognised(model)
    assert len(layers_in(changed)) == 1


def test_layers_may_start_from_the_same_constant() -> None:
    form = Form()
    g, sequence = Graph(), "x"
    zeros = g.const(np.zeros((2, 4)))
    for at, layer in enumerate(layers_of(form, 2, 3, 4, 0)):
        writer, h, c, made = Steps(g, form, layer), zeros, zeros, []
        for x in taken_apart(g, form, sequence, 3):
            h, c = writer.step(x, h, c)
            made.append(h)
        sequence = stacked(g, form, made, "y" if at else "between")
    changed, _ = recognised(g.model({"x": [3, 2, 3]}, {"y": [3, 2, 4]}))
    assert len(layers_in(changed)) == 2


def from_zeros(form: Form, layers: list[Layer], steps: int, *, spoil: bool = False):
    """Return layers that start from zeros, as they are when constants were folded."""
    g, sequence = Graph(), "x"
    hidden = layers[0].w.shape[1]
    zeros = np.zeros((2, hidden), np.float32)
    for at, layer in enumerate(layers):
        writer, made = Steps(g, form, layer), []
        h, c = g.const(zeros), g.const(zeros) if form.cell == "LSTM" else ""
        for x in taken_apart(g, form, sequence, steps):
            h, c = writer.step(x, h, c)
            made.append(h)
        sequence = stacked(g, form, made, "y" if at == len(layers) - 1 else f"between{at}")
    if spoil:
        last = next(node for node in g.nodes if node.op_type == "Tanh")
        last.op_type = "Softsign"
    width = layers[0].w.shape[2]
    shape = [2, steps] if form.batch_first else [steps, 2]
    model = g.model({"x": [*shape, width]}, {"y": [*shape, hidden]})
    return folded(model)


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute products of constants."""
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Add") and all(n in values for n in node.input):
            one = onnx.helper.make_graph([node], "one", [], list(map(empty, node.output)))
            alone = onnx.helper.make_model(one, opset_imports=model.opset_import)
            alone.graph.initializer.extend(
                onnx.numpy_helper.from_array(values[n], n) for n in node.input
            )
            values[node.output[0]] = ReferenceEvaluator(alone).run(None, {})[0]
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(values[node.output[0]], node.output[0])
            )
        else:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


empty = onnx.helper.make_empty_tensor_value_info


@settings(max_examples=40, deadline=None)
@given(form=FORMS, steps=st.integers(2, 4), count=st.integers(1, 2), seed=SEED)
def test_a_first_step_from_zeros_belongs_to_its_layer(
    form: Form, steps: int, count: int, seed: int
) -> None:
    form = replace(form, fused=False, squash="Sigmoid")  # a joined [x, h] is no constant
    model = from_zeros(form, layers_of(form, count, 3, 4, seed), steps)
    changed, notes = recognised(model)
    layers = layers_in(changed)
    assert len(layers) == count
    assert all(f"{steps} steps" in note for note in notes)
    assert all(len(node.input) == 4 for node in layers)


@pytest.mark.parametrize("squash", ["HardSigmoid", "Clip"])
def test_a_first_step_from_zeros_with_corners_stays(squash: str) -> None:
    """Random points prove nothing for formulas that are not smooth."""
    form = Form(squash=squash)
    _, notes = recognised(from_zeros(form, layers_of(form, 1, 3, 4, 0), 4))
    assert all("3 steps" in note for note in notes)


@pytest.mark.parametrize("cell", ["LSTM", "GRU0", "GRU1"])
def test_a_first_step_that_is_another_stays(cell: str) -> None:
    form = Form(cell)
    model = from_zeros(form, layers_of(form, 1, 3, 4, 0), 4, spoil=True)
    _, notes = recognised(model)
    assert all("3 steps" in note for note in notes)
