"""Target cuda: the refusal where there is no GPU, the real thing where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from onnx import helper

from edgernn.errors import InputError, TargetUnavailable
from edgernn.streaming import run_in_chunks
from edgernn_runtimes import cuda, load

FOUND = cuda.probe()
needs_gpu = pytest.mark.skipif(not FOUND.available, reason=f"no target cuda: {FOUND.detail}")
Write = Callable[..., Path]


@pytest.mark.skipif(FOUND.available, reason="target cuda is available")
def test_without_cuda_loading_says_what_to_install(model: Write) -> None:
    with pytest.raises(TargetUnavailable, match="install") as caught:
        load(model(), "cuda")
    assert caught.value.exit_code == 4
    assert FOUND.remedy in str(caught.value)


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_cuda_equals_cpu_whole_and_in_chunks(model: Write, cell: str) -> None:
    path, x = model(cell=cell, layers=2), {"x": normal(1, 3, 50, 8)}
    want, session = load(path, "cpu").run(x)["y"], load(path, "cuda")
    np.testing.assert_allclose(session.run(x)["y"], want, atol=1e-3)  # TF32 products
    for chunk in (1, 7, 50):
        np.testing.assert_allclose(run_in_chunks(session, x, chunk)["y"], want, atol=1e-3)


@pytest.mark.cuda
@needs_gpu
def test_the_state_stays_on_the_device(model: Write) -> None:
    stream = load(model(cell="lstm"), "cuda").stream(2)
    buffers = [buffer for states in stream._states for buffer in states.values()]
    assert {buffer._value.device_name() for buffer in buffers} == {"cuda"}


@pytest.mark.cuda
@needs_gpu
def test_reset_restore_and_refusal_on_the_device(model: Write) -> None:
    stream, x = load(model(), "cuda").stream(2), normal(1, 2, 4, 8)
    first = stream.step(x)
    saved = stream.state
    second = stream.step(x)
    stream.state = saved
    with pytest.raises(InputError, match="holds nan"):
        stream.step(np.full_like(x, np.nan))
    np.testing.assert_array_equal(stream.step(x), second)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), first)


@pytest.mark.cuda
@needs_gpu
def test_an_operator_without_kernel_is_refused_unless_allowed(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, ["n", 3, 3])],
        [helper.make_tensor_value_info("y", 1, ["n"])],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(TargetUnavailable, match="without a CUDA kernel"):
        load(tmp_path / "a.onnx", "cuda")
    session = load(tmp_path / "a.onnx", "cuda", allow_fallback=True)
    assert session.run({"x": np.eye(3, dtype=np.float32)[None]})["y"] == [1]
