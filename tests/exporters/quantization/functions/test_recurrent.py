"""Integer layers in ONNX Runtime against the definition in numpy: the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
from helpers.graphs import Floats, normal, open_onnx, run_onnx
from helpers.integer_models import CELLS, draw_layer, expected_layer, layer_model
from helpers.quantized import assert_same, with_functions
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edgernn.integer import INTEGER, RecurrentParameters

SIZES = st.integers(1, 40)


def draw_states(
    cell: str, batch: int, hidden: int, seed: int, *, extreme: bool = False
) -> list[NDArray[np.int16]]:
    rng = np.random.default_rng(seed)
    shape = (2 if cell == "lstm" else 1, 1, batch, hidden)
    if extreme:
        return list(rng.choice(np.array([-32768, -32767, -1, 0, 1, 32767], np.int16), shape))
    return list(rng.integers(-32767, 32768, shape).astype(np.int16))


def feeds_of(x: Floats, starts: list[NDArray[np.int16]]) -> dict[str, NDArray[Any]]:
    return {"x": x, **dict(zip("hc", starts, strict=False))}


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=15)
@given(
    inputs=SIZES, hidden=SIZES, batch=st.integers(1, 5), time=st.integers(1, 9),
    seed=st.integers(0, 2**16), reverse=st.booleans(), extreme=st.booleans(),
    scale=st.sampled_from([1.0, 1e-4, 0.1, 30.0, 1e5]),
    x_scale=st.sampled_from([1.0, 0.0, 1e-6, 1e6]),
)  # fmt: skip
@example(33, 31, 2, 4, 0, False, True, 1e5, 1e6)
def test_layers_return_the_integers_of_the_definition(
    cell: str, precision: str, inputs: int, hidden: int, batch: int, time: int, seed: int,
    reverse: bool, extreme: bool, scale: float, x_scale: float,
) -> None:  # fmt: skip
    layer = draw_layer(cell, precision, inputs, hidden, seed, scale)
    x = normal(seed, time, batch, inputs, scale=x_scale * scale)
    starts = draw_states(cell, batch, hidden, seed, extreme=extreme)
    model = with_functions(layer_model(cell, layer, batch, time, reverse=reverse))
    want = expected_layer(layer, x, starts, reverse=reverse)
    for optimized in (True, False):
        assert_same(run_onnx(model, feeds_of(x, starts), optimized=optimized), want)


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("cell", CELLS)
def test_other_runtimes_would_return_them_too(cell: str, precision: str) -> None:
    """onnx's own inliner and numpy evaluator, which share no code with ONNX Runtime."""
    layer = draw_layer(cell, precision, 7, 5, seed=3)
    x, starts = normal(1, 4, 2, 7, scale=2), draw_states(cell, 2, 5, 2)
    model = with_functions(layer_model(cell, layer, 2, 4))
    names = [value.name for value in model.graph.output]
    flat = onnx.inliner.inline_local_functions(model)
    assert not flat.functions
    got = ReferenceEvaluator(flat).run(names, feeds_of(x, starts))
    assert_same(dict(zip(names, got, strict=True)), expected_layer(layer, x, starts))


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_does_not_depend_on_the_others(cell: str, precision: str) -> None:
    layer = draw_layer(cell, precision, 9, 12, seed=1)
    x, starts = normal(2, 6, 3, 9, scale=2), draw_states(cell, 3, 12, 1)
    x[:, 0] *= 1000  # a loud neighbour
    together = run_onnx(with_functions(layer_model(cell, layer, 3, 6)), feeds_of(x, starts))
    one = open_onnx(with_functions(layer_model(cell, layer, 1, 6)))
    for row in range(3):
        part = slice(row, row + 1)
        alone = one.run(None, feeds_of(x[:, part], [s[:, part] for s in starts]))
        for name, value in zip(together, alone, strict=True):
            np.testing.assert_array_equal(value, together[name][:, part], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("cell", CELLS)
def test_ten_thousand_steps_in_chunks(cell: str, precision: str) -> None:
    steps, hidden = 10_000, 16
    layer = draw_layer(cell, precision, 8, hidden, seed=5)
    x = np.cumsum(normal(6, steps, 2, 8, scale=0.1), axis=0, dtype=np.float32) % np.float32(2)
    starts = [np.zeros((1, 2, hidden), np.int16)] * (2 if cell == "lstm" else 1)
    want = expected_layer(layer, x, starts)
    model = with_functions(layer_model(cell, layer, 2, 1))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "time"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "time"
    session = open_onnx(model)
    rng, at, pieces, states = np.random.default_rng(0), 0, [], starts
    while at < steps:
        after = min(steps, at + int(rng.choice([1, 2, 7, 100, 1000])))
        y, *states = session.run(None, feeds_of(x[at:after], states))
        pieces.append(y)
        at = after
    np.testing.assert_array_equal(np.concatenate(pieces), want["y"])
    for name, state in zip(("hk", "ck"), states, strict=False):
        np.testing.assert_array_equal(state, want[name])


@pytest.mark.parametrize("cell", CELLS)
def test_optimized_loops_hold_no_tables(cell: str, tmp_path: Any) -> None:
    """What a step needs is computed once, at load: the optimized loop has few nodes."""
    layer: RecurrentParameters = draw_layer(cell, "int8", 5, 6, seed=0)
    model = with_functions(layer_model(cell, layer, 1, 1))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    assert len(nodes) <= 25
    assert {"Range", "Sign", "Abs"}.isdisjoint(node.op_type for node in nodes)
    (loop,) = (a.g for n in nodes if n.op_type == "Scan" for a in n.attribute if a.name == "body")
    assert len(loop.node) <= 30
