"""The quantized layers in ONNX Runtime against the reference in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import (
    Floats,
    Parameters,
    draw_parameters,
    make_model,
    normal,
    recurrent_model,
    run_onnx,
    tensor,
)
from helpers.quantized import rewritten, stored_bytes
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from edgernn import reference
from edgernn_exporters.quantization.functions import DOMAIN, function

ATOL = 2e-5  # float sums and gates; a rounding that went the other way would be 1e-3 and more


def row_steps(x: Floats) -> NDArray[np.int32]:
    row = np.maximum(np.abs(x).max(axis=-1, keepdims=True) * np.float32(1 / 127), np.float32(1e-30))
    return np.rint(x / row).astype(np.int32)


def directions_of(
    cell: str, parameters: Parameters, x: Floats, starts: list[Floats], **options: Any
) -> tuple[Floats, list[Floats]]:
    """Run the reference in every direction; return ``[T, D, B, H]`` and the last states."""
    reverse = options.pop("reverse")
    sequences, lasts = [], []
    for d, backwards in enumerate(reverse):
        w, r = stored_bytes(parameters.w[d].T), stored_bytes(parameters.r[d].T)
        rows = parameters.w.shape[1]
        bias = np.zeros(2 * rows, np.float32) if parameters.b is None else parameters.b[d]
        weights = reference.int8_dynamic_weights(
            *w, *r, bias, bounded=options.get("activation") is None
        )
        run = getattr(reference, cell)
        sequence = x[::-1] if backwards else x
        y, *last = run(sequence, weights, *(start[d] for start in starts), **options)
        sequences.append(y[::-1] if backwards else y)
        lasts.append(last)
    return np.stack(sequences, axis=1), [np.stack(parts) for parts in zip(*lasts, strict=True)]


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    assert not rewritten(model).kept
    return model


def check_against_reference(
    cell: str,
    *,
    inputs: int,
    hidden: int,
    batch: int,
    time: int,
    seed: int,
    direction: str = "forward",
    bias: bool = True,
    states: bool = True,
    x_scale: float = 1.0,
    attributes: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    weight_scale: float = 1.0,
    opset: int = 20,
) -> None:
    reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    count = len(reverse)
    parameters = draw_parameters(
        cell, inputs=inputs, hidden=hidden, directions=count, bias=bias, seed=seed,
        scale=weight_scale,
    )  # fmt: skip
    x = normal(seed, time, batch, inputs, scale=x_scale)
    letters = "hc" if cell == "lstm" else "h"
    starts = [
        np.tanh(normal(seed + i, count, batch, hidden)) if states
        else np.zeros((count, batch, hidden), np.float32)
        for i in range(len(letters))
    ]  # fmt: skip
    model = quantized(
        recurrent_model(
            cell, parameters, states=states, direction=direction, opset=opset, **(attributes or {})
        )
    )
    feeds = {"x": x} | (dict(zip(letters, starts, strict=True)) if states else {})
    got = run_onnx(model, feeds)
    y, lasts = directions_of(cell, parameters, x, starts, reverse=reverse, **(options or {}))
    scale = max(1.0, float(np.abs(y).max()))
    np.testing.assert_allclose(got["y"], y, atol=ATOL * scale)
    for letter, last in zip(letters, lasts, strict=True):
        np.testing.assert_allclose(got[f"{letter}k"], last, atol=ATOL * scale)


CONFIGURATIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lstm": ("lstm", {}, {}),
    "gru": ("gru", {"linear_before_reset": 1}, {"linear_before_reset": True}),
    "gru-reset-before": ("gru", {}, {"linear_before_reset": False}),
    "rnn": ("rnn", {}, {}),
}
SIZES = st.integers(1, 33)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@given(
    inputs=SIZES, hidden=SIZES, batch=st.integers(1, 5), time=st.integers(1, 12),
    seed=st.integers(0, 2**16), direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    bias=st.booleans(), states=st.booleans(), x_scale=st.sampled_from([1.0, 1e-3, 30.0]),
)  # fmt: skip
def test_layers_equal_the_reference(name: str, **case: Any) -> None:
    cell, attributes, options = CONFIGURATIONS[name]
    check_against_reference(cell, attributes=attributes, options=options, **case)


@given(
    inputs=SIZES, hidden=SIZES, batch=st.integers(1, 5), time=st.integers(1, 12),
    seed=st.integers(0, 2**16), direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
)  # fmt: skip
def test_the_relu_rnn_equals_the_reference(direction: str, **case: Any) -> None:
    count = 2 if direction == "bidirectional" else 1
    check_against_reference(
        "rnn", direction=direction, attributes={"activations": ["Relu"] * count},
        options={"activation": lambda value: np.maximum(value, 0)}, **case,
    )  # fmt: skip


@pytest.mark.parametrize("opset", range(13, 25))
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_opsets(name: str, opset: int) -> None:
    cell, attributes, options = CONFIGURATIONS[name]
    check_against_reference(
        cell, attributes=attributes, options=options, opset=opset, inputs=5, hidden=6, batch=2,
        time=4, seed=1, direction="bidirectional",
    )  # fmt: skip


def linear_call(weight: Floats, bias: Floats, shape: list[int | str]) -> onnx.ModelProto:
    values, scale = stored_bytes(weight)
    node = helper.make_node("LinearInt8Dynamic", ["x", "w", "ws", "b"], ["y"], domain=DOMAIN)
    return make_model(
        [node],
        {"x": [*shape, weight.shape[0]]},
        {"y": [*shape, weight.shape[1]]},
        [
            tensor("w", values),
            tensor("ws", scale),
            tensor("b", bias),
        ],
        functions=[function("LinearInt8Dynamic", 20)],
    )


EXTREMES = [
    np.zeros((4, 3), np.float32),
    np.ones((4, 3), np.float32),
    np.full((4, 3), 1e6, np.float32),
    np.full((4, 3), -1e30, np.float32),
    np.full((4, 3), 1e-42, np.float32),
    np.array([[1e30, 1e-38, 0]] * 4, np.float32),
    np.array([[1, 0, -1], [0, 0, 0], [1e6, 1e-6, 1], [-0.0, 127, 63.5]], np.float32),
]


@pytest.mark.parametrize("weight", EXTREMES)
@pytest.mark.parametrize("x_scale", [0.0, 1e-40, 1e-31, 1.0, 1e6])
def test_linear_layers_with_extreme_values_equal_the_reference(
    weight: Floats, x_scale: float
) -> None:
    x, bias = normal(3, 2, 5, 4, scale=x_scale), normal(4, 3)
    want = reference.row_product(x, *stored_bytes(weight)) + bias
    got = run_onnx(linear_call(weight, bias, ["a", "b"]), {"x": x})["y"]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-30)


@given(rank=st.integers(1, 4), inner=st.integers(1, 70), outer=st.integers(1, 40),
       seed=st.integers(0, 999))  # fmt: skip
def test_linear_layers_of_any_rank_equal_the_reference(
    rank: int, inner: int, outer: int, seed: int
) -> None:
    weight, bias = normal(seed, inner, outer), normal(seed + 1, outer)
    x = normal(seed + 2, *([2, 3, 2][: rank - 1]), inner)
    want = reference.row_product(x, *stored_bytes(weight)) + bias
    got = run_onnx(linear_call(weight, bias, list("abc")[: rank - 1]), {"x": x})["y"]
    np.testing.assert_array_equal(got, want)


@given(m=st.integers(1, 9), k=st.integers(1, 300), n=st.integers(1, 70), seed=st.integers(0, 999))
@example(m=1, k=1024, n=64, seed=0)
@example(m=4, k=7, n=3, seed=1)
def test_products_of_bytes_are_exact_over_the_full_range(m: int, k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.choice(np.array([0, 1, 127, 128, 129, 254, 255], np.uint8), (m, k))
    b = rng.choice(np.array([0, 1, 128, 255], np.uint8), (k, n))
    node = helper.make_node("MatMulInteger", ["a", "b", "zero", "zero"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("a", 2, [m, k])],
        [helper.make_tensor_value_info("y", 6, [m, n])],
        [tensor("b", b), tensor("zero", np.uint8(128))],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    want = reference.integer_product(a.astype(np.int32) - 128, b)
    np.testing.assert_array_equal(run_onnx(model, {"a": a})["y"], want)


def test_saturated_products_are_exact() -> None:
    for sign in (0, 255):
        a, b = np.full((1, 512), 255, np.uint8), np.full((512, 32), sign, np.uint8)
        node = helper.make_node("MatMulInteger", ["a", "b", "zero", "zero"], ["y"])
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("a", 2, [1, 512])],
            [helper.make_tensor_value_info("y", 6, [1, 32])],
            [tensor("b", b), tensor("zero", np.uint8(128))],
        )  # fmt: skip
        imports = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        assert set(run_onnx(model, {"a": a})["y"].ravel()) == {512 * 127 * (sign - 128)}


@pytest.mark.parametrize("name", CONFIGURATIONS)
@given(batch=st.integers(2, 6), hidden=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_row_does_not_depend_on_the_others(name: str, batch: int, hidden: int, seed: int) -> None:
    cell, attributes, _ = CONFIGURATIONS[name]
    parameters = draw_parameters(cell, inputs=9, hidden=hidden, seed=seed)
    model = quantized(recurrent_model(cell, parameters, states=False, **attributes))
    x = normal(seed, 7, batch, 9)
    x[:, 0] *= 100  # a loud neighbour
    together = run_onnx(model, {"x": x})["y"]
    for row in range(batch):
        alone = run_onnx(model, {"x": x[:, row : row + 1]})["y"]
        np.testing.assert_array_equal(alone[:, :, 0], together[:, :, row])


def test_linear_rows_are_the_same_bits_alone_and_in_a_batch() -> None:
    model = linear_call(normal(1, 33, 17), normal(2, 17), ["a"])
    x = normal(3, 8, 33) * np.geomspace(1e-3, 1e3, 8, dtype=np.float32)[:, None]
    together = run_onnx(model, {"x": x})["y"]
    for row in range(8):
        np.testing.assert_array_equal(run_onnx(model, {"x": x[row : row + 1]})["y"][0],
                                      together[row])  # fmt: skip
