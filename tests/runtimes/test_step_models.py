"""Models of one time step without a time axis, with memory that is the same at each step."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import draw_parameters, normal, tensor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import edgernn
from edgernn import load
from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import InputError, ModelError, UsageError
from edgernn.metadata import Metadata
from edgernn_exporters.codegen import compile as generate
from edgernn_runtimes import load as load_plain
from edgernn_runtimes import probe
from edgernn_runtimes.compilers import find_host_compiler

WORDS, UNITS = 9, 6
FEW = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write_step(path: Path, seed: int = 0) -> Path:
    """Write ``token [batch], memory [batch, source, U] -> y [batch, U]`` with the state of a GRU.

    The input of the GRU is the token's row of a table plus the largest of each memory feature.
    """
    weights = draw_parameters("gru", inputs=UNITS, hidden=UNITS, seed=seed)
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["row"]),
        helper.make_node("ReduceMax", ["memory", "axis_1"], ["largest"], keepdims=0),
        helper.make_node("Add", ["row", "largest"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "axis_0"], ["x"]),
        helper.make_node("GRU", ["x", "W", "R", "B", "", "h"], ["", "h.next"], name="rnn",
                         hidden_size=UNITS, linear_before_reset=1),
        helper.make_node("Squeeze", ["h.next", "axis_0"], ["y"]),
    ]  # fmt: skip
    value, floats = helper.make_tensor_value_info, TensorProto.FLOAT
    state = [1, "batch", UNITS]
    graph = helper.make_graph(
        nodes, "step",
        [value("token", TensorProto.INT64, ["batch"]),
         value("memory", floats, ["batch", "source", UNITS]), value("h", floats, state)],
        [value("y", floats, ["batch", UNITS]), value("h.next", floats, state)],
        [tensor("table", normal(seed, WORDS, UNITS)), tensor("W", weights.w),
         tensor("R", weights.r), tensor("B", weights.b), tensor("axis_0", np.array([0])),
         tensor("axis_1", np.array([1]))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    axes = {"token": Axes(0, None), "memory": Axes(0, None)}
    contract = Contract(
        (StateSpec("h", "h.next", 1),), StreamSpec(True, axes, {"y": Axes(0, None)})
    )
    helper.set_model_props(model, Metadata(contract).to_props())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def drawn(seed: int, batch: int, source: int, steps: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    memory = rng.standard_normal((batch, source, UNITS)).astype(np.float32)
    tokens = rng.integers(0, WORDS, (steps, batch))
    return [{"token": row, "memory": memory} for row in tokens]


def check(path: Path, target: str, batch: int, source: int, seed: int) -> None:
    calls = drawn(seed, batch, source, 5)
    reference = load(path, "cpu", threads=1).stream(batch)
    session = load(path, target, fixed={"source": source})
    stream = session.stream(batch)
    want = []
    for call in calls:
        want.append(reference.step(call)["y"])
        np.testing.assert_allclose(stream.step(call)["y"], want[-1], atol=2e-6)
    assert not np.array_equal(want[0], want[1])
    stream.reset()
    np.testing.assert_allclose(stream.step(calls[0])["y"], want[0], atol=2e-6)
    kept = stream.state
    np.testing.assert_allclose(stream.step(calls[1])["y"], want[1], atol=2e-6)
    stream.state = kept
    np.testing.assert_allclose(stream.step(calls[1])["y"], want[1], atol=2e-6)
    for _ in range(2):  # a run starts from the first state each time
        np.testing.assert_allclose(session.run(calls[0])["y"], want[0], atol=2e-6)


@FEW
@given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_native_steps_as_onnx_runtime_does(
    tmp_path: Path, batch: int, source: int, seed: int
) -> None:
    check(write_step(tmp_path / "a.onnx", seed), "native", batch, source, seed)


@pytest.mark.slow
@pytest.mark.skipif(not probe("cortex-m4").available, reason="needs the emulator and its compiler")
def test_an_emulated_core_steps_as_onnx_runtime_does(tmp_path: Path) -> None:
    check(write_step(tmp_path / "a.onnx"), "cortex-m4", 1, 4, 0)


def test_a_memory_of_another_size_is_refused_and_what_is_not_fixed_is_named(
    tmp_path: Path,
) -> None:
    path = write_step(tmp_path / "a.onnx")
    stream = load(path, "native", fixed={"source": 4}).stream()
    with pytest.raises(InputError, match=r"expected memory float32 \[batch, 4, 6\], got shape"):
        stream.step(drawn(0, 1, 5, 1)[0])
    with pytest.raises(ModelError, match=r"axis 1 \(source\) of memory"):
        load(path, "native")
    with pytest.raises(UsageError, match="no dynamic axis width to fix"):
        load(path, "native", fixed={"width": 4})
    other = load(path, "cpu").stream()
    for source in (3, 7):  # memory may change with the step where sizes are free
        assert other.step(drawn(0, 1, source, 1)[0])["y"].shape == (1, UNITS)


def test_the_c_project_tests_itself_and_says_that_it_advances(tmp_path: Path) -> None:
    path, folder = write_step(tmp_path / "a.onnx"), tmp_path / "c"
    project = generate(path, folder, fixed={"source": 3}, complete=True,
                       load=partial(load_plain, target="cpu", threads=1))  # fmt: skip
    assert (project.advances, project.causal, project.has_steps) == (True, False, False)
    assert "/* Advance by one time step. " in (folder / f"{project.name}.h").read_text()
    assert f"`{project.name}_run` advances by one time step" in (folder / "README.md").read_text()
    sources = [str(folder / f"{project.name}.c"), str(folder / "tests" / "selftest.c")]
    subprocess.run(
        [*find_host_compiler("a test"), "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror",
         f"-I{folder}", f"-I{folder / 'tests'}", *sources, "-o", str(tmp_path / "selftest")],
        check=True, timeout=120,
    )  # fmt: skip
    done = subprocess.run([tmp_path / "selftest"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "a copy of the struct goes on with the same bits" in done.stdout


@pytest.mark.parametrize("precision", ["fp16", "int8-dynamic"])
def test_a_step_can_be_quantized(tmp_path: Path, precision: str) -> None:
    path, child = write_step(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    edgernn.quantize(path, child, precision=precision)
    first, second = (load(file, "cpu", threads=1).stream(2) for file in (path, child))
    for call in drawn(0, 2, 3, 6):
        np.testing.assert_allclose(second.step(call)["y"], first.step(call)["y"], atol=0.05)
