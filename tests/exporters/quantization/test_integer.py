"""Which nodes become integer layers, and that the graph computes as numpy says."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import (
    Floats,
    draw_parameters,
    make_model,
    normal,
    recurrent_model,
    run_onnx,
    tensor,
)
from helpers.lengths import CELLS
from helpers.quantized import ranges_for, rewritten
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgernn.errors import ModelError, UsageError
from edgernn.integer import (
    INTEGER,
    InputScale,
    LayerRange,
    Ranges,
    linear_parameters,
    recurrent_parameters,
)
from edgernn.integer.cells import linear, recurrent

REVERSE = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
CLOSE = {"int8": 0.1, "w8a16": 0.06, "int4": 0.5}


@pytest.mark.parametrize("name", CELLS)
@given(
    precision=st.sampled_from(list(INTEGER)), direction=st.sampled_from(list(REVERSE)),
    bias=st.booleans(), states=st.booleans(), seed=st.integers(0, 999),
    inputs=st.integers(1, 20), hidden=st.integers(1, 20), batch=st.integers(1, 3),
    largest=st.lists(st.sampled_from([1.0, 7.0, 1000.0]), min_size=2, max_size=2),
)  # fmt: skip
def test_every_direction_computes_what_numpy_says(
    name: str, precision: str, direction: str, bias: bool, states: bool, seed: int, inputs: int,
    hidden: int, batch: int, largest: list[float],
) -> None:  # fmt: skip
    cell, attributes = CELLS[name]
    reverse = REVERSE[direction]
    if "activations" in attributes:
        attributes = {"activations": ["Relu"] * len(reverse)}
    parameters = draw_parameters(
        cell, inputs=inputs, hidden=hidden, directions=len(reverse), bias=bias, seed=seed
    )
    model = recurrent_model(cell, parameters, states=states, direction=direction, **attributes)
    low = normal(seed, inputs) - 2
    span = LayerRange(tuple(map(float, low)), tuple(map(float, low + 4)), tuple(largest),
                      tuple(largest))  # fmt: skip
    rewritten(model, precision, ranges=Ranges({"cell": span}, "minmax", 1, 1))
    x = normal(seed + 1, 5, batch, inputs, scale=2)
    letters = "hc" if cell == "lstm" else "h"
    starts = {s: normal(seed + 2, len(reverse), batch, hidden, scale=0.6) for s in letters}
    got = run_onnx(model, {"x": x, **(starts if states else {})})
    for d, backwards in enumerate(reverse):
        b = np.zeros(2 * parameters.w.shape[1], np.float32) if not bias else parameters.b[d]
        layer = recurrent_parameters(
            cell, parameters.w[d], parameters.r[d], b,
            span.input_scale(INTEGER[precision].input_bits), INTEGER[precision],
            linear_before_reset=bool(attributes.get("linear_before_reset")),
            largest_cell=largest[d], largest_state=largest[d], relu="activations" in attributes,
        )  # fmt: skip
        units = [layer.state_unit, 2.0**-layer.cell_bits][: len(letters)]
        first = [
            np.clip(np.rint(starts[s][d] / unit), -32767, 32767).astype(np.int32) if states
            else np.zeros((batch, hidden), np.int32)
            for s, unit in zip(letters, units, strict=True)
        ]  # fmt: skip
        y, *last = recurrent(x[::-1] if backwards else x, layer, *first)
        y = (y[::-1] if backwards else y).astype(np.float32) * np.float32(units[0])
        np.testing.assert_array_equal(got["y"][:, d], y)
        for letter, value, unit in zip(letters, last, units, strict=True):
            np.testing.assert_array_equal(
                got[f"{letter}k"][d], value.astype(np.float32) * np.float32(unit)
            )


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("name", CELLS)
def test_layers_stay_close_to_float(name: str, precision: str) -> None:
    cell, attributes = CELLS[name]
    model = recurrent_model(
        cell, draw_parameters(cell, inputs=12, hidden=20), states=False, **attributes
    )
    feeds = {"x": normal(1, 9, 3, 12)}
    want = run_onnx(model, feeds)["y"]
    rewritten(model, precision, ranges=ranges_for(["cell"]))
    error = np.abs(run_onnx(model, feeds)["y"] - want).max()
    assert 0 < error < CLOSE[precision] * np.abs(want).max()


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("kind", ["MatMul", "MatMul+Add", "Gemm", "Gemm^T"])
def test_linear_layers(precision: str, kind: str) -> None:
    weight, bias = normal(1, 24, 7), normal(2, 7)
    if kind.startswith("MatMul"):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="l")]
        if kind == "MatMul+Add":
            nodes[0].output[0] = "m"
            nodes.append(helper.make_node("Add", ["m", "b"], ["y"]))
        else:
            bias = np.zeros(7, np.float32)
        tensors = [tensor("w", weight), tensor("b", bias)][: len(nodes)]
    else:
        trans = kind == "Gemm^T"
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="l", transB=int(trans))]
        tensors = [tensor("w", weight.T.copy() if trans else weight), tensor("b", bias)]
    model = make_model(nodes, {"x": ["n", 24]}, {"y": ["n", 7]}, tensors)
    assert rewritten(model, precision, ranges=ranges_for(["l"])).layers == {"l": precision}
    assert len(model.graph.node) == 1
    scale = InputScale.of_range(*np.float32([[-3], [3]]), INTEGER[precision].input_bits)
    layer = linear_parameters(weight, bias, scale, INTEGER[precision])
    x = normal(3, 5, 24)
    np.testing.assert_array_equal(run_onnx(model, {"x": x})["y"], linear(x, layer))


@pytest.mark.parametrize("kind", ["MatMul", "Gemm^T", "Conv"])
def test_layers_with_too_many_inputs_for_16_bits_stay_float(kind: str) -> None:
    """Each sum would overflow, or all weights become 0."""
    weight, bias, shape = normal(1, 70_000, 2), normal(2, 2), ["n", 70_000]
    node = helper.make_node("MatMul", ["x", "w"], ["m"], name="l")
    if kind == "Gemm^T":
        node, weight = helper.make_node("Gemm", ["x", "w"], ["m"], name="l", transB=1), weight.T
    elif kind == "Conv":
        node = helper.make_node("Conv", ["x", "w"], ["m"], name="l")
        weight, bias, shape = weight.T[:, :, None], bias[:, None], [*shape, 1]
    nodes = [node, helper.make_node("Add", ["m", "b"], ["y"])]
    tensors = [tensor("w", np.ascontiguousarray(weight)), tensor("b", bias)]
    model = make_model(nodes, {"x": shape}, {"y": ["n", 2, *shape[2:]]}, tensors)
    feeds = {"x": normal(3, 2, 70_000, *shape[2:])}
    want = run_onnx(model, feeds)["y"]
    small = onnx.ModelProto.FromString(model.SerializeToString())
    done = rewritten(model, "w8a16", ranges=ranges_for(["l"]))
    assert done.layers == {"l": "float32"}
    assert "70,000 inputs, and 16-bit inputs allow 65,535" in done.kept[0].reason
    np.testing.assert_array_equal(run_onnx(model, feeds)["y"], want)
    assert rewritten(small, "int8", ranges=ranges_for(["l"])).layers == {"l": "int8"}


def test_recurrent_layers_with_too_many_inputs_for_16_bits_stay_float() -> None:
    model = recurrent_model("rnn", draw_parameters("rnn", inputs=65_536, hidden=2))
    done = rewritten(model, "w8a16", ranges=ranges_for(["cell"]))
    assert "65,536 inputs" in done.kept[0].reason


CONVOLUTIONS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((6, 4, 3), {}),
    ((6, 4, 3), {"pads": [2, 0], "strides": [2], "kernel_shape": [3]}),
    ((6, 1, 3), {"group": 4, "dilations": [2]}),
    ((6, 2, 3, 2), {"group": 2, "pads": [1, 0, 1, 2], "strides": [2, 1]}),
    ((6, 4, 3, 3), {"auto_pad": "SAME_UPPER"}),
]


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize(("shape", "attributes"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_stay_close_to_float(
    precision: str, shape: tuple[int, ...], attributes: dict[str, Any], bias: bool
) -> None:
    if attributes.get("group") == 4:
        shape = (8, *shape[1:])
    tensors = {"w": normal(1, *shape), **({"b": normal(2, shape[0])} if bias else {})}
    node = helper.make_node("Conv", ["x", *tensors], ["y"], name="conv", **attributes)
    names: list[int | str] = ["n", 4, *("hw"[: len(shape) - 2])]
    outputs: list[int | str] = ["n", shape[0], *("ij"[: len(shape) - 2])]
    model = make_model([node], {"x": names}, {"y": outputs},
                       [tensor(*item) for item in tensors.items()])  # fmt: skip
    feeds = {"x": normal(3, 2, 4, *[9] * (len(shape) - 2))}
    want = run_onnx(model, feeds)["y"]
    done = rewritten(model, precision, ranges=ranges_for(["conv"], 5.0))
    assert done.layers == {"conv": precision}
    got = run_onnx(model, feeds)["y"]
    assert got.shape == want.shape
    assert 0 < np.abs(got - want).max() < {"int8": 0.05, "w8a16": 0.02, "int4": 0.4}[
        precision
    ] * np.abs(want).max()  # fmt: skip


@pytest.mark.parametrize("precision", INTEGER)
def test_embeddings_need_no_range(precision: str) -> None:
    table = normal(1, 30, 12)
    nodes = [helper.make_node("Gather", ["t", "i"], ["y"], name="embedding", axis=-2)]
    model = make_model(nodes, {}, {"y": ["a", "b", 12]},
                       [tensor("t", table), tensor("i", np.array([[0, 29], [-1, 3]]))])  # fmt: skip
    assert rewritten(model, precision).layers == {"embedding": precision}
    got = run_onnx(model, {})["y"]
    want = table[np.array([[0, 29], [-1, 3]])]
    step = np.abs(want).max(axis=-1, keepdims=True) / (7 if precision == "int4" else 127)
    assert (np.abs(got - want) <= step * (3 if precision == "int4" else 0.51)).all()


@pytest.mark.parametrize(
    ("node", "weight", "reason"),
    [
        (("ConvTranspose", {}), normal(1, 4, 3, 3), "no int8 form of ConvTranspose"),
        (("Conv", {}), normal(1, 3, 4, 3, 3, 3), "1-D or 2-D convolution"),
        (("Gemm", {"alpha": 2.0}), normal(1, 4, 3), "transA or alpha is set"),
    ],
)
def test_other_forms_stay_float_and_say_why(
    node: tuple[str, dict[str, Any]], weight: Floats, reason: str
) -> None:
    made = helper.make_node(node[0], ["x", "w"], ["y"], name="layer", **node[1])
    letters = "abcd"[: weight.ndim - 2]
    model = make_model([made], {"x": ["n", 4, *letters]}, {"y": ["n", 3, *letters.upper()]},
                       [tensor("w", weight)])  # fmt: skip
    before = onnx.ModelProto.FromString(model.SerializeToString())
    done = rewritten(model, "int8", ranges=ranges_for(["layer"]))
    assert done.layers == {"layer": "float32"}
    assert reason in done.kept[0].reason
    assert before.graph.initializer == model.graph.initializer
    assert [item.op_type for item in model.graph.node] == [node[0]]


def test_ranges_are_asked_for_and_must_fit() -> None:
    model = recurrent_model("gru", draw_parameters("gru", inputs=4, hidden=6))
    with pytest.raises(UsageError, match=r"int8 needs to know the range .*'cell'; .*--calibration"):
        rewritten(model, "int8")
    with pytest.raises(ModelError, match="no ranges for layer 'cell', only for other"):
        rewritten(model, "int8", ranges=ranges_for(["other"]))


def test_a_convolution_needs_one_range_around_zero() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    model = make_model([node], {"x": ["n", 4, "t"]}, {"y": ["n", 3, "u"]},
                       [tensor("w", normal(1, 3, 4, 3))])  # fmt: skip
    for span in (LayerRange((-1.0,) * 4, (1.0,) * 4), LayerRange((0.0,), (1.0,))):
        done = rewritten(model, "int8", ranges=Ranges({"conv": span}, "minmax", 1, 1))
        assert "not one for all channels around 0" in done.kept[0].reason


def test_nan_weights_are_refused() -> None:
    parameters = draw_parameters("gru", inputs=4, hidden=6)
    parameters.r[0, 1, 2] = np.nan
    with pytest.raises(ModelError, match="NaN or infinite"):
        rewritten(recurrent_model("gru", parameters), "int8", ranges=ranges_for(["cell"]))
