"""Layers whose rows have lengths of their own: each row as if it were alone and cut to them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
import pytest
from helpers.graphs import Floats, open_onnx, run_onnx
from helpers.lengths import CELLS, DIRECTIONS, PRECISIONS, draw_feeds, quantized_layer
from helpers.quantized import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from edgernn.reference import with_lengths
from edgernn_exporters.quantization.functions.loops import lengths_of

SIZES = (5, 7)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=6)
@given(
    direction=st.sampled_from(list(DIRECTIONS)), time=st.integers(1, 7),
    parts=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 999),
)  # fmt: skip
def test_each_row_is_as_if_it_were_alone(
    name: str, precision: str, direction: str, time: int, parts: list[float], seed: int
) -> None:
    lengths = [round(part * time) for part in parts]
    feeds = draw_feeds(name, direction, SIZES, time, len(lengths), seed)
    alone = open_onnx(quantized_layer(name, precision, direction, SIZES, seed))

    def run(x: Floats, *starts: Floats) -> list[Floats]:
        if len(x) == 0:
            return [np.zeros((0, DIRECTIONS[direction], 1, SIZES[1]), np.float32), *starts]
        return list(alone.run(None, dict(zip(feeds, [x, *starts], strict=True))))

    want = with_lengths(run, feeds["x"], lengths, *list(feeds.values())[1:])
    for row, length in enumerate(lengths):
        feeds["x"][length:, row] = 1e30  # padding may be anything
    got = run_onnx(quantized_layer(name, precision, direction, SIZES, seed, lengths), feeds)
    assert_same(got, dict(zip(got, want, strict=True)))


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8"])
def test_other_runtimes_would_return_the_same(precision: str) -> None:
    """onnx's own inliner and numpy evaluator, which share no code with ONNX Runtime."""
    model = quantized_layer("lstm", precision, "forward", SIZES, 1, [3, 0, 5])
    feeds = draw_feeds("lstm", "forward", SIZES, 5, 3, 2)
    names = [value.name for value in model.graph.output]
    flat = onnx.inliner.inline_local_functions(model)
    got = ReferenceEvaluator(flat).run(names, feeds)
    want = run_onnx(model, feeds)
    for name, value in zip(names, got, strict=True):
        np.testing.assert_allclose(value, want[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_layers_with_lengths_call_other_functions(precision: str) -> None:
    with_them, without = (
        quantized_layer("gru", precision, "bidirectional", SIZES, 0, lengths)
        for lengths in ([2, 1], None)
    )
    calls = [node for node in with_them.graph.node if node.op_type.startswith("GRU")]
    assert [lengths_of(node) for node in calls] == ["lens", "lens"]
    assert "Steps" in {function.name for function in with_them.functions}
    plain = [node for node in without.graph.node if node.op_type.startswith("GRU")]
    assert [lengths_of(node) for node in plain] == ["", ""]
    assert not any("Lengths" in function.name for function in without.functions)
    assert "Steps" not in {function.name for function in without.functions}
