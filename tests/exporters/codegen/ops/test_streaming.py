"""Graphs with states around them: causal convolutions and counters, run in chunks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.c_runner import CLibrary
from helpers.graphs import normal, run_onnx
from helpers.operators import Const, Timed, chain, check
from onnx import helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.metadata import Metadata

CONV = """
xt = Transpose <perm = [0, 2, 1]> (x)
joined = Concat <axis = 2> (cache, xt)
c = Conv <dilations = [2]> (joined, w, b)
r = Relu (c)
z = Transpose <perm = [0, 2, 1]> (r)
cache_next = Slice (joined, start, end, axis)
h = Concat <axis = 2> (z, x)
y = MatMul (h, v)
"""
DEPTHWISE = """
xt = Transpose <perm = [0, 2, 1]> (x)
joined = Concat <axis = 2> (cache, xt)
d = Conv <group = 4, dilations = [2]> (joined, u)
s = Sigmoid (d)
m = Mul (s, xt)
y = Transpose <perm = [0, 2, 1]> (m)
cache_next = Slice (joined, start, end, axis)
"""
POSITIONS = """
sizes = Shape (x)
t = Gather (sizes, one)
range = Range (zero, t, one)
place = Add (range, cache)
cache_next = Add (cache, t)
row = Mod (place, ten)
e = Gather (table, row)
y = Add (x, e)
"""
CONSTANTS: Mapping[str, Any] = {
    "w": normal(0, 6, 4, 3), "b": normal(1, 6), "v": normal(2, 10, 3), "u": normal(3, 4, 1, 3),
    "start": np.array([-4]), "end": np.array([2**62]), "axis": np.array([2]),
    "one": np.array(1), "zero": np.array(0), "ten": np.array(10), "table": normal(4, 10, 4),
}  # fmt: skip


def streaming_model(text: str, cache: np.ndarray, width: int) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(f"g () => () {{\n{text}\n}}")
    used = {name for node in graph.node for name in node.input}
    kind = helper.np_dtype_to_tensor_dtype(cache.dtype)

    def state(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, cache.shape)

    def flow(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, "time", size])

    made = helper.make_graph(
        list(graph.node), "stream", [flow("x", 4), state("cache")],
        [flow("y", width), state("cache_next")],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    spec = StateSpec("cache", "cache_next", 0, dtype=cache.dtype.name)
    axes = Axes(None, 1)
    contract = Contract((spec,), StreamSpec(True, {"x": axes}, {"y": axes}))
    helper.set_model_props(model, Metadata(contract=contract).to_props())
    return model


@pytest.mark.parametrize(
    ("text", "cache", "width"),
    [
        (CONV, np.zeros((1, 4, 4), np.float32), 3),
        (DEPTHWISE, np.zeros((1, 4, 4), np.float32), 4),
        (POSITIONS, np.zeros((1,), np.int64), 4),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_chunks_and_steps_equal_the_whole_sequence(
    tmp_path: Path, text: str, cache: np.ndarray, width: int, chunk: int
) -> None:
    model = streaming_model(text, cache, width)
    library = CLibrary(model, tmp_path / "net", chunk=chunk)
    x = normal(9, 1, 14, 4)
    expected = run_onnx(model, {"x": x, "cache": cache})
    got = library.run({"x": x})
    np.testing.assert_allclose(got["y"], expected["y"], 1e-5, 2e-6)
    np.testing.assert_allclose(library.state("cache"), expected["cache_next"], 1e-6)
    library.reset()
    steps = [library.step({"x": x[:, i : i + 1]})["y"] for i in range(14)]
    np.testing.assert_allclose(np.concatenate(steps, 1), expected["y"], 1e-5, 2e-6)
    assert not library.project.fixed_steps


@pytest.mark.parametrize("causal", [True, False])
def test_no_steps_at_all(tmp_path: Path, causal: bool) -> None:
    """Nothing is read or written, not even the last time step that is not there."""
    x = Timed(normal(0, 1, 9, 4), 1)
    text = "y = Relu (x)" if causal else "a = Gather <axis = 1> (x, last)\ny = Add (x, a)"
    last = {} if causal else {"last": Const(np.array([-1]))}
    library = check([chain(text, "y", x=x, **last)], tmp_path, causal=causal)
    assert library.run({"c0_x": normal(0, 1, 0, 4)})["c0_y"].shape == (1, 0, 4)
