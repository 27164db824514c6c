"""Learned initial values: a state that starts at an initializer of the file, on every target."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.models import write_model
from helpers.quantized import ranges_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from edgernn import load
from edgernn.errors import ContractError
from edgernn.sessions import Session
from edgernn.streaming import run_in_chunks
from edgernn_exporters.codegen.compile import emit
from edgernn_exporters.codegen.golden import golden_vectors
from edgernn_exporters.inspection import inspect
from edgernn_exporters.onnx_files import read_model, save_model
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load as load_plain
from edgernn_runtimes import probe

HIDDEN, INPUTS = 16, 8
FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CASES = st.fixed_dictionaries({
    "cell": st.sampled_from(["gru", "lstm", "rnn"]),
    "layers": st.integers(1, 2),
    "bidirectional": st.booleans(),
    "seed": st.integers(0, 99),
})  # fmt: skip
QUANTIZED = ("fp16", "int8-dynamic", "int8", "w8a16", "int4")


def write_learned(path: Path, *, seed: int = 0, row: bool = True, **options: Any) -> Path:
    """Write a model whose states start at random values, ``[D, 1, H]`` or one number for all."""
    write_model(path, hidden_size=HIDDEN, input_size=INPUTS, **options)
    model, metadata = read_model(path)
    assert metadata.contract is not None
    rng = np.random.default_rng(seed)
    directions = 2 if options.get("bidirectional") else 1
    states = []
    for state in metadata.contract.states:
        shape = (directions, 1, HIDDEN) if row else ()
        value = rng.uniform(-0.9, 0.9, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, f"{state.input}.start"))
        states.append(replace(state, init=f"{state.input}.start"))
    contract = replace(metadata.contract, states=tuple(states))
    save_model(model, replace(metadata, contract=contract), path)
    return path


def expected(path: Path, x: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Run the graph with its first states given as plain inputs, so without our contract."""
    model, metadata = read_model(path)
    assert metadata.contract is not None
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    feeds = {"x": x}
    for spec, state in zip(inspect(path).states, metadata.contract.states, strict=True):
        shape = [size if isinstance(size, int) else len(x) for size in spec.shape]
        feeds[state.input] = np.broadcast_to(arrays[state.init], shape).copy()
    del model.metadata_props[:]
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        onnx.save(model, plain)
        return load_plain(plain, "cpu", threads=1).run(feeds)


def sample(seed: int, batch: int, steps: int) -> np.ndarray[Any, Any]:
    x: np.ndarray[Any, Any] = np.random.default_rng(seed).standard_normal((batch, steps, INPUTS))
    return x.astype(np.float32)


def check(session: Session, path: Path, batch: int, tolerance: float = 2e-6) -> None:
    """Compare runs and streams with the plain graph: outputs, first state, and after `reset`."""
    contract = session.metadata.contract
    assert contract is not None
    x = sample(1, batch, 7)
    want = expected(path, x)
    for _ in range(2):
        np.testing.assert_allclose(session.run({"x": x})["y"], want["y"], atol=tolerance)
    if not contract.stream.causal:
        return
    for chunk in (1, 3):
        got = run_in_chunks(session, {"x": x}, chunk)
        np.testing.assert_allclose(got["y"], want["y"], atol=tolerance)
    stream, arrays = session.stream(batch), constants(path)
    start = stream.state
    for state in contract.states:
        first = np.broadcast_to(arrays[state.init], start[state.input].shape)
        np.testing.assert_array_equal(start[state.input], first)
    one = stream.step(x[:, :2])
    assert any(not np.array_equal(start[name], value) for name, value in stream.state.items())
    stream.reset()
    for name, value in stream.state.items():
        np.testing.assert_array_equal(value, start[name])
    np.testing.assert_array_equal(stream.step(x[:, :2]), one)


def constants(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@FEW
@given(CASES, st.booleans(), st.integers(1, 3))
def test_cpu(tmp_path: Path, case: dict[str, Any], row: bool, batch: int) -> None:
    path = write_learned(tmp_path / "a.onnx", row=row, **case)
    check(load(path, "cpu", threads=1), path, batch)


@FEW
@given(CASES, st.integers(1, 2))
def test_native(tmp_path: Path, case: dict[str, Any], batch: int) -> None:
    path = write_learned(tmp_path / "a.onnx", **case)
    check(load(path, "native"), path, batch)


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_quantized_files_start_at_the_same_values(
    tmp_path: Path, precision: str, cell: str
) -> None:
    path = write_learned(tmp_path / "a.onnx", cell=cell, layers=2)
    child = tmp_path / "b.onnx"
    ranges = ranges_for(inspect(path).names) if precision in ("int8", "w8a16", "int4") else None
    quantize(path, child, precision=precision, ranges=ranges,
             load=partial(load_plain, target="cpu", threads=1))  # fmt: skip
    contract = read_model(child)[1].contract
    assert contract is not None
    before, after = constants(path), constants(child)
    for state in contract.states:
        value = after[state.init]
        start = before[f"{state.input}.start"]
        assert (value.dtype.name, value.shape) == (state.dtype, start.shape)
        if state.scale is None:
            np.testing.assert_array_equal(value, start)
        else:  # the nearest integer
            np.testing.assert_allclose(value * state.scale, start, atol=state.scale * 0.51)
    for target in ("cpu", "native"):
        check(load(child, target), child, 2, 2e-6 if precision == "fp16" else 1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_self_tests_expect_them_too(tmp_path: Path, cell: str) -> None:
    """ONNX's reference implementation, where ONNX Runtime is not installed."""
    path = write_learned(tmp_path / "a.onnx", cell=cell)
    model, metadata = read_model(path)
    golden = golden_vectors(model, metadata, emit(path).project)
    want = expected(path, golden.inputs["x"])
    np.testing.assert_allclose(golden.outputs["y"], want["y"], atol=2e-6)


@pytest.mark.slow
@pytest.mark.skipif(not probe("cortex-m4").available, reason="needs the emulator and its compiler")
@pytest.mark.parametrize("precision", [None, "int8"])
def test_an_emulated_core(tmp_path: Path, precision: str | None) -> None:
    path = write_learned(tmp_path / "a.onnx", cell="lstm")
    if precision is not None:
        path, source = tmp_path / "b.onnx", path
        quantize(source, path, precision=precision, ranges=ranges_for(inspect(source).names),
                 load=None)  # fmt: skip
    check(load(path, "cortex-m4"), path, 1)


@pytest.mark.skipif(not probe("cuda").available, reason="needs a GPU")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_cuda(tmp_path: Path, cell: str) -> None:
    path = write_learned(tmp_path / "a.onnx", cell=cell, layers=2)
    check(load(path, "cuda", allow_fallback=True), path, 3, 1e-5)


@pytest.mark.parametrize("target", ["cpu", "native"])
def test_values_that_do_not_fit_are_refused(tmp_path: Path, target: str) -> None:
    path = write_learned(tmp_path / "a.onnx")
    model, metadata = read_model(path)
    for wrong, said in (
        (np.zeros((1, 1, HIDDEN + 1), np.float32), "does not fit state"),
        (np.zeros((1, 2, HIDDEN), np.float32), "does not fit state"),
        (np.zeros((1, 1, HIDDEN), np.float64), "is float64, but"),
    ):
        tensor = next(t for t in model.graph.initializer if t.name == "h_l0.start")
        tensor.CopyFrom(numpy_helper.from_array(wrong, "h_l0.start"))
        save_model(model, metadata, path)
        with pytest.raises(ContractError, match=said):
            load(path, target).run({"x": sample(0, 2, 3)})
