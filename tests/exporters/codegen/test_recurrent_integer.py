"""Recurrent and linear layers of int8, w8a16 and int4 as C: the integers of numpy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.c_runner import FLAGS, SANITIZE, CProgram
from helpers.graphs import normal
from helpers.integer_models import (
    CELLS,
    SUFFIXES,
    Graph,
    Stack,
    draw_layer,
    draw_linear,
    expected_layer,
    layer_model,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgernn.errors import InputError
from edgernn.integer import cells as integer
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.codegen import emit
from edgernn_runtimes import native

PHASES = [Phase.explicit, Phase.generate]
SIZES = st.integers(1, 40) | st.sampled_from([64, 96, 128])
ISAS = [None, "avx2", "portable"]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", SUFFIXES)
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=2, phases=PHASES)
@given(
    inputs=SIZES, hidden=SIZES, batch=st.integers(1, 3), time=st.integers(2, 12),
    reverse=st.booleans(), seed=st.integers(0, 999), scale=st.sampled_from([1.0, 1e-3, 30.0]),
)  # fmt: skip
def test_layers_have_the_integers_of_numpy(
    cell: str, precision: str, isa: str | None, inputs: int, hidden: int, batch: int, time: int,
    reverse: bool, seed: int, scale: float, tmp_path: Path,
) -> None:  # fmt: skip
    layer = draw_layer(cell, precision, inputs, hidden, seed, scale)
    rng = np.random.default_rng(seed)
    x = normal(seed, time, batch, inputs, scale=scale)
    shape = (1, batch, hidden)
    starts = [rng.integers(-32767, 32768, shape).astype(np.int16) for _ in "hc"]
    starts = starts if cell == "lstm" else starts[:1]
    if cell == "rnn-relu":
        starts = [np.abs(start) for start in starts]
    path = tmp_path / "model.onnx"
    onnx.save(layer_model(cell, layer, batch, time, reverse=reverse), path)
    feeds = {"x": x, **dict(zip("hc", starts, strict=False))}
    got = native.load(path, compile=generate, isa=isa).run(feeds)
    for key, value in expected_layer(layer, x, starts, reverse=reverse).items():
        np.testing.assert_array_equal(got[key], value, err_msg=key, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", SUFFIXES)
def test_linear_layers_have_the_bits_of_numpy(
    precision: str, isa: str | None, tmp_path: Path
) -> None:
    sizes = [(1, 1), (3, 5), (40, 10), (64, 17), (129, 33), (7, 64), (256, 128)]
    graph, inputs, outputs, feeds, want = Graph(), {}, {}, {}, {}
    for number, (inner, outer) in enumerate(sizes):
        layer = draw_linear(precision, inner, outer, number)
        graph.linear(f"x{number}", f"y{number}", layer, f"l{number}")
        x = normal(number, 2, 5, inner) * 3
        feeds[f"x{number}"], want[f"y{number}"] = x, integer.linear(x, layer)
        inputs[f"x{number}"] = ("float32", [2, 5, inner])
        outputs[f"y{number}"] = ("float32", [2, 5, outer])
    path = tmp_path / "model.onnx"
    onnx.save(graph.model(inputs, outputs), path)
    got = native.load(path, compile=generate, isa=isa).run(feeds)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name, strict=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", SUFFIXES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_ten_thousand_steps_have_the_integers_of_numpy(
    cell: str, precision: str, isa: str | None, tmp_path: Path
) -> None:
    stack = Stack(cell, precision, [5, 24, 16])
    x = normal(3, 10_000, 1, 5)
    want, states = stack.run(x)
    stream = native.load(stack.write(tmp_path / "m.onnx"), compile=generate, isa=isa).stream()
    got = [stream.step(part) for part in (x[:1], x[1:50], x[50:])]
    np.testing.assert_array_equal(np.concatenate(got), want)
    assert set(stream.state) == set(states)
    for name, value in states.items():
        np.testing.assert_array_equal(stream.state[name], value, err_msg=name, strict=True)


@pytest.mark.parametrize("precision", SUFFIXES)
def test_states_are_saved_and_restored_as_int16(precision: str, tmp_path: Path) -> None:
    stack = Stack("lstm", precision, [5, 24])
    session = native.load(stack.write(tmp_path / "m.onnx"), compile=generate)
    x = normal(1, 30, 2, 5)
    stream, other = session.stream(batch=2), session.stream(batch=2)
    stream.step(x[:10])
    saved = stream.state
    assert {value.dtype.name for value in saved.values()} == {"int16"}
    other.state = saved
    np.testing.assert_array_equal(stream.step(x[10:]), other.step(x[10:]))
    np.testing.assert_array_equal(stream.state["c_l0"], other.state["c_l0"])
    with pytest.raises(InputError, match="int16"):
        other.state = {name: value.astype(np.float32) for name, value in saved.items()}


@pytest.mark.parametrize(
    ("compiler", "flag"), [("gcc", "-march=native"), ("clang", "-DEDGERNN_PORTABLE")]
)
@pytest.mark.parametrize("precision", SUFFIXES)
def test_projects_are_clean(precision: str, compiler: str, flag: str, tmp_path: Path) -> None:
    """No warnings, and nothing that sanitizers find, with saturated inputs as well."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    stack = Stack("lstm", precision, [7, 21, 40])
    program = CProgram(
        stack.write(tmp_path / "m.onnx"), tmp_path / "c", compiler=[compiler],
        flags=[*FLAGS, *SANITIZE, flag],
    )  # fmt: skip
    x = np.concatenate([normal(1, 20, 1, 7), normal(2, 20, 1, 7, scale=1e30)])
    np.testing.assert_array_equal(program.run({"x": x})["y"], stack.run(x)[0])


def test_projects_say_what_a_unit_of_a_state_is(tmp_path: Path) -> None:
    stack = Stack("lstm", "int8", [5, 24])
    emitted = emit(stack.write(tmp_path / "kw.onnx"), target="cortex-m4")
    h, c = emitted.project.states
    bits = stack.layers[0].cell_bits
    assert (h.dtype, h.scale, c.scale) == ("int16", 2.0**-15, 2.0**-bits)
    header = emitted.files["kw.h"]
    assert "aligned(8))); /* h_l0 [1, 1, 24], one unit is 2^-15 */" in header
    assert f"one unit is 2^-{bits} */" in header
