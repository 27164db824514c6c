"""Convolutions and embeddings of int8, w8a16 and int4 as C, against sums in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.c_runner import CLibrary
from helpers.graphs import Floats, normal
from helpers.integer_models import DOMAIN, SUFFIXES, Graph, stored_weight
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper

from edgernn.integer import INTEGER, InputScale
from edgernn.integer.cells import quantize_input

PHASES = [Phase.explicit, Phase.generate]


def expected(
    q: NDArray[np.int32], w: NDArray[np.int8], scale: Floats, bias: Floats, group: int,
    strides: list[int], dilations: list[int], pads: list[int],
) -> Floats:  # fmt: skip
    """Convolve integers ``q [N, C, ..]`` exactly."""
    rank = w.ndim - 2
    edges = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    padded = np.pad(q.astype(np.float64), edges)
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    windows = sliding_window_view(padded, reach, tuple(range(2, 2 + rank)))
    every = (slice(None), slice(None))
    windows = windows[(*every, *(slice(None, None, s) for s in strides),
                       *(slice(None, None, d) for d in dilations))]  # fmt: skip
    outs = []
    for part, weights in zip(np.split(windows, group, 1), np.split(w, group), strict=True):
        axes = ([1, *range(2 + rank, 2 + 2 * rank)], list(range(1, w.ndim)))
        outs.append(np.moveaxis(np.tensordot(part, weights.astype(np.float64), axes), -1, 1))
    sums = np.concatenate(outs, 1).astype(np.float32)
    shape = (-1, *[1] * rank)
    result: Floats = sums * scale.reshape(shape) + bias.reshape(shape)
    return result


@pytest.mark.parametrize("target", ["native", "cortex-m4", "cortex-m55", "riscv32"])
@pytest.mark.parametrize("precision", SUFFIXES)
@settings(max_examples=6, phases=PHASES)
@given(data=st.data())
def test_convolutions(precision: str, target: str, tmp_path: Path, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 2))
    some = st.integers(1, 3)
    group = data.draw(some)
    inner, each, batch = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9)), data.draw(some)
    kernel = data.draw(st.lists(some, min_size=rank, max_size=rank))
    strides, dilations = (data.draw(st.lists(some, min_size=rank, max_size=rank)) for _ in "sd")
    pads = data.draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    sizes = [
        data.draw(st.integers((k - 1) * d + 1, 12)) for k, d in zip(kernel, dilations, strict=True)
    ]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kind = INTEGER[precision]
    most = 127 if kind.weight_bits == 8 else 7
    w = rng.integers(-most, most + 1, (each * group, inner, *kernel)).astype(np.int8)
    scale, bias = (normal(int(rng.integers(99)), each * group) for _ in "sb")
    x = normal(1, batch, inner * group, *sizes)
    steps = InputScale(np.zeros(1, np.float32), np.float32([1e4 if kind.input_bits == 16 else 50]))
    want = expected(quantize_input(x, steps, kind.input_bits), w, scale, bias, group, strides,
                    dilations, pads)  # fmt: skip
    graph, shape = Graph(), (-1, *[1] * rank)
    graph.initializers.append(stored_weight("w", w, kind.weight_bits))
    names = [graph.constant("xc", steps.center), graph.constant("xi", steps.inverse), "w",
             graph.constant("wm", scale.reshape(shape)),
             graph.constant("wb", bias.reshape(shape))]  # fmt: skip
    graph.nodes.append(helper.make_node(
        f"Conv{SUFFIXES[precision]}", ["x", *names], ["y"], domain=DOMAIN, group=group,
        strides=strides, dilations=dilations, pads=pads, kernel_shape=kernel,
    ))  # fmt: skip
    model = graph.model({"x": ("float32", list(x.shape))}, {"y": ("float32", list(want.shape))})
    library = CLibrary(model, tmp_path / str(rng.integers(1 << 60)), target=target)
    np.testing.assert_array_equal(library.run({"x": x})["y"], want)


@pytest.mark.parametrize("width", [1, 7, 16])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_embeddings(precision: str, width: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(width)
    bits = INTEGER[precision].weight_bits
    most = 2 ** (bits - 1) - 1
    table = rng.integers(-most, most + 1, (11, width)).astype(np.int8)
    scale = normal(2, 11)
    ids = rng.integers(-11, 11, (3, 4))
    graph = Graph()
    graph.initializers.append(stored_weight("w", table, bits))
    graph.constant("ws", scale)
    name = f"Embedding{SUFFIXES[precision]}"
    graph.nodes.append(helper.make_node(name, ["ids", "w", "ws"], ["y"], domain=DOMAIN))
    model = graph.model({"ids": ("int64", [3, 4])}, {"y": ("float32", [3, 4, width])})
    got = CLibrary(model, tmp_path / "c").run({"ids": ids})["y"]
    np.testing.assert_array_equal(got, (table.astype(np.float32) * scale[:, None])[ids])


def test_weights_of_float16_become_float32(tmp_path: Path) -> None:
    """A file of precision fp16 holds casts of its weights; C holds the float32 values."""
    weight = normal(1, 6, 4).astype(np.float16)
    graph = Graph()
    graph.constant("w16", weight)
    graph.nodes.append(helper.make_node("Cast", ["w16"], ["w"], to=onnx.TensorProto.FLOAT))
    graph.nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    model = graph.model({"x": ("float32", [3, 6])}, {"y": ("float32", [3, 4])})
    library = CLibrary(model, tmp_path / "c")
    x = normal(2, 3, 6)
    want = x @ weight.astype(np.float32)
    np.testing.assert_allclose(library.run({"x": x})["y"], want, rtol=1e-6, atol=1e-6)


def states(initial: Any) -> onnx.ModelProto:
    """A float state that becomes int16 and back, as around a recurrent layer of a foreign graph."""
    graph = Graph()
    graph.constant("unit", np.float32(2.0**-15))
    graph.constant("low", np.float32(-32767))
    graph.constant("high", np.float32(32767))
    graph.nodes += [
        helper.make_node("Div", ["s", "unit"], ["d"]),
        helper.make_node("Round", ["d"], ["r"]),
        helper.make_node("Clip", ["r", "low", "high"], ["c"]),
        helper.make_node("Cast", ["c"], ["q"], to=onnx.TensorProto.INT16),
        helper.make_node("Cast", ["q"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "unit"], ["back"]),
    ]
    return graph.model(
        {"s": ("float32", list(initial.shape))},
        {"q": ("int16", list(initial.shape)), "back": ("float32", list(initial.shape))},
    )


def test_states_are_converted(tmp_path: Path) -> None:
    s = np.concatenate([normal(1, 40), np.float32([1, -1, 2, -2, 0.5 / 32768, 1.5 / 32768])])
    got = CLibrary(states(s), tmp_path / "c").run({"s": s})
    want = np.clip(np.rint(s / np.float32(2.0**-15)), -32767, 32767).astype(np.int16)
    np.testing.assert_array_equal(got["q"], want)
    np.testing.assert_array_equal(got["back"], want * np.float32(2.0**-15))
