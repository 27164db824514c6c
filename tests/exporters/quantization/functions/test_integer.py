"""Linear layers, convolutions and embeddings in ONNX Runtime against numpy: the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import Floats, normal, run_onnx
from helpers.integer_models import SUFFIXES, Graph, draw_linear, stored_weight
from helpers.quantized import assert_same, with_functions
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgernn.integer import INTEGER, InputScale, LinearParameters, Precision, linear_parameters
from edgernn.integer.cells import linear, quantize_input

BOTH = (True, False)


@pytest.mark.parametrize("precision", INTEGER)
@given(inner=st.integers(1, 70), outer=st.integers(1, 40), rank=st.integers(1, 4),
       seed=st.integers(0, 999), x_scale=st.sampled_from([1.0, 0.0, 1e-6, 1e6]))  # fmt: skip
@example(1024, 64, 2, 0, 1e6)
def test_linear_layers_equal_the_definition(
    precision: str, inner: int, outer: int, rank: int, seed: int, x_scale: float
) -> None:
    layer = draw_linear(precision, inner, outer, seed)
    x = normal(seed, *[2, 3, 2][: rank - 1], inner, scale=x_scale)
    graph = Graph()
    graph.linear("x", "y", layer, "")
    model = with_functions(
        graph.model({"x": ("float32", list(x.shape))},
                    {"y": ("float32", [*x.shape[:-1], outer])})
    )  # fmt: skip
    for optimized in BOTH:
        assert_same(run_onnx(model, {"x": x}, optimized=optimized), {"y": linear(x, layer)})


@pytest.mark.parametrize("precision", INTEGER)
@given(seed=st.integers(0, 999))
def test_stacked_layers_are_not_fused_into_others(precision: str, seed: int) -> None:
    first = draw_linear(precision, 9, 17, seed)
    second = draw_linear(precision, 17, 5, seed + 1)
    zero = InputScale(np.zeros(1, np.float32), np.float32([16]))  # a subtraction of nothing
    second = LinearParameters(zero, second.values, second.multiplier, second.bias,
                              second.precision)  # fmt: skip
    x = normal(seed, 6, 9)
    graph = Graph()
    graph.linear("x", "m", first, "a")
    graph.linear("m", "y", second, "b")
    model = with_functions(graph.model({"x": ("float32", [6, 9])}, {"y": ("float32", [6, 5])}))
    want = {"y": linear(linear(x, first), second)}
    for optimized in BOTH:
        assert_same(run_onnx(model, {"x": x}, optimized=optimized), want)


@given(seed=st.integers(0, 99), sign=st.sampled_from([-1, 1]))
@pytest.mark.parametrize("precision", INTEGER)
def test_sums_at_the_end_of_int32_are_exact(precision: str, seed: int, sign: int) -> None:
    weight = sign * np.full((520, 3), 1.0, np.float32)
    kind = INTEGER[precision]
    scale = InputScale.of_range(np.float32([-1]), np.float32([1]), kind.input_bits)
    layer = linear_parameters(weight, None, scale, kind)
    x = np.random.default_rng(seed).choice(np.float32([-2, -1, 1, 2]), (4, 520))
    x[0] = 2
    graph = Graph()
    graph.linear("x", "y", layer, "")
    model = with_functions(graph.model({"x": ("float32", [4, 520])}, {"y": ("float32", [4, 3])}))
    assert_same(run_onnx(model, {"x": x}), {"y": linear(x, layer)})


def convolution(
    x: Floats, weight: NDArray[np.int8], layer: LinearParameters, *, pads: list[int],
    strides: list[int], dilations: list[int], group: int,
) -> Floats:  # fmt: skip
    """Convolve as ONNX defines it, with exact sums."""
    kernel = weight.shape[2:]
    n = len(kernel)
    q = quantize_input(x, layer.x, layer.precision.input_bits).astype(np.float64)
    q = np.pad(q, [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)])
    sizes = [
        (size - step * (length - 1) - 1) // stride + 1
        for size, length, stride, step in zip(q.shape[2:], kernel, strides, dilations, strict=True)
    ]
    outputs, inner = weight.shape[0], weight.shape[1]
    y = np.zeros((len(x), outputs, *sizes))
    for o in range(outputs):
        part = q[:, (o // (outputs // group)) * inner :][:, :inner]
        for place in np.ndindex(*kernel):
            at = tuple(
                slice(i * step, i * step + (size - 1) * stride + 1, stride)
                for i, size, stride, step in zip(place, sizes, strides, dilations, strict=True)
            )
            w = weight[o][(slice(None), *place)].reshape(1, -1, *[1] * n)
            y[:, o] += (part[(slice(None), slice(None), *at)] * w).sum(axis=1)
    column = (-1, *[1] * n)
    scaled: Floats = y.astype(np.float32) * layer.multiplier.reshape(column)
    return scaled + layer.bias.reshape(column)


@pytest.mark.parametrize("precision", INTEGER)
@given(dimensions=st.integers(1, 2), group=st.sampled_from([1, 2, 4]), length=st.integers(1, 4),
       stride=st.integers(1, 3), dilation=st.integers(1, 2), pads=st.integers(0, 3),
       seed=st.integers(0, 999))  # fmt: skip
def test_convolutions_equal_numpy(
    precision: str, dimensions: int, group: int, length: int, stride: int, dilation: int,
    pads: int, seed: int,
) -> None:  # fmt: skip
    kind, kernel = INTEGER[precision], [length] * dimensions
    weight = normal(seed, 4, 4 // group, *kernel)
    one = InputScale.of_range(np.float32([-2]), np.float32([2]), kind.input_bits)
    rows = weight.reshape(4, -1).T
    scale = InputScale(np.zeros(len(rows), np.float32), np.repeat(one.inverse, len(rows)))
    layer = linear_parameters(rows, normal(seed + 1, 4), scale, kind)
    layer = LinearParameters(one, layer.values, layer.multiplier, layer.bias, kind)
    values = np.ascontiguousarray(layer.values.T).reshape(weight.shape)
    x = normal(seed + 2, 2, 4, *[11] * dimensions)
    attributes: dict[str, Any] = {
        "pads": [pads, *[0] * (2 * dimensions - 1)], "strides": [stride] * dimensions,
        "dilations": [dilation] * dimensions, "group": group,
    }  # fmt: skip
    want = convolution(x, values, layer, **attributes)
    model = convolution_model(x, values, layer, kind, want.shape, attributes)
    for optimized in BOTH:
        assert_same(run_onnx(model, {"x": x}, optimized=optimized), {"y": want})


def convolution_model(
    x: Floats, values: NDArray[np.int8], layer: LinearParameters, kind: Precision,
    shape: tuple[int, ...], attributes: dict[str, Any],
) -> onnx.ModelProto:  # fmt: skip
    column = (-1, *[1] * (values.ndim - 2))
    graph = Graph()
    graph.initializers.append(stored_weight("w", values, kind.weight_bits))
    inputs = [
        "x", graph.constant("xc", layer.x.center), graph.constant("xi", layer.x.inverse), "w",
        graph.constant("wm", layer.multiplier.reshape(column)),
        graph.constant("wb", layer.bias.reshape(column)),
    ]  # fmt: skip
    graph.nodes.append(
        onnx.helper.make_node(
            f"Conv{SUFFIXES[kind.name]}", inputs, ["y"], domain="edgernn", **attributes
        )
    )
    return with_functions(
        graph.model({"x": ("float32", list(x.shape))}, {"y": ("float32", list(shape))})
    )


@pytest.mark.parametrize("bits", [8, 4])
@given(rows=st.integers(1, 30), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_embeddings_equal_numpy(bits: int, rows: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    limit = 127 if bits == 8 else 7
    values = rng.integers(-limit, limit + 1, (rows, width)).astype(np.int8)
    scale = normal(seed, rows)
    ids = rng.integers(-rows, rows, (3, 5))
    graph = Graph()
    graph.initializers.append(stored_weight("w", values, bits))
    graph.nodes.append(
        onnx.helper.make_node(
            f"EmbeddingInt{bits}", ["ids", "w", graph.constant("ws", scale)], ["y"],
            domain="edgernn",
        )
    )  # fmt: skip
    model = with_functions(
        graph.model({"ids": ("int64", [3, 5])}, {"y": ("float32", [3, 5, width])})
    )
    want = values[ids].astype(np.float32) * scale[ids][..., None]
    for optimized in BOTH:
        assert_same(run_onnx(model, {"ids": ids}, optimized=optimized), {"y": want})
