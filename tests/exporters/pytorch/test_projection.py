"""LSTM layers with proj_size, which ONNX has no operator for."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgernn.streaming import run_in_chunks
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.pytorch.export import export
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load

from .conftest import open_cpu

# What PyTorch says of its own speed.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


class Projected(nn.Module):
    """A projected LSTM between linear layers."""

    def __init__(self, inputs: int = 5, hidden: int = 7, size: int = 3, **options: Any) -> None:
        super().__init__()
        options.setdefault("batch_first", True)
        self.first = nn.Linear(inputs, inputs)
        self.rnn = nn.LSTM(inputs, hidden, proj_size=size, **options)
        self.head = nn.Linear(size * (2 if self.rnn.bidirectional else 1), 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, (h, c) = self.rnn(torch.tanh(self.first(x)))
        return {"y": self.head(y), "h": h, "c": c}


def exported(path: Path, *, seed: int = 0, gate: bool = True, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    module = Projected(**options).eval()
    export(module, (torch.zeros(1, 9, module.first.in_features),), path,
           load=open_cpu if gate else None)  # fmt: skip
    return module


def reference(module: nn.Module, x: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: value.numpy() for name, value in module(torch.from_numpy(x)).items()}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_each_layer_and_direction_is_a_scan_with_weights_of_the_graph(tmp_path: Path) -> None:
    exported(tmp_path / "a.onnx", num_layers=2, bidirectional=True)
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in model.graph.node if node.op_type == "Scan"] == [
        "rnn.l0", "rnn.l0.reverse", "rnn.l1", "rnn.l1.reverse",
    ]  # fmt: skip
    names = {node.name for node in model.graph.node if node.op_type == "MatMul"}
    assert names == {"first", "head", "rnn.l0.input", "rnn.l0.input.reverse", "rnn.l1.input",
                     "rnn.l1.input.reverse"}  # fmt: skip
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for layer, inputs in ((0, 5), (1, 6)):
        for suffix in ("", "_reverse"):
            shapes = {"W": [inputs, 28], "R": [3, 28], "P": [7, 3], "B": [28]}
            for letter, shape in shapes.items():
                assert sizes[f"rnn.{letter}_l{layer}{suffix}"] == shape
    body = next(node for node in model.graph.node if node.op_type == "Scan").attribute[0].g
    assert [node.op_type for node in body.node].count("MatMul") == 2
    assert not body.initializer


def test_states_have_the_sizes_of_both_parts(tmp_path: Path) -> None:
    exported(tmp_path / "a.onnx", num_layers=2)
    session = load(tmp_path / "a.onnx", "cpu")
    assert [str(spec) for spec in session.states] == [
        "rnn.h_l0 float32 [1, batch, 3]", "rnn.c_l0 float32 [1, batch, 7]",
        "rnn.h_l1 float32 [1, batch, 3]", "rnn.c_l1 float32 [1, batch, 7]",
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_it_streams(tmp_path: Path, chunk: int) -> None:
    module = exported(tmp_path / "a.onnx", num_layers=2)
    session, x = load(tmp_path / "a.onnx", "cpu"), normal(3, 23, 5)
    want = reference(module, x)
    for got in (session.run({"x": x}), run_in_chunks(session, {"x": x}, chunk)):
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, atol=2e-6)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow,
          HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_any_sizes_and_options(tmp_path: Path, data: st.DataObject) -> None:
    inputs, hidden = data.draw(st.integers(1, 9)), data.draw(st.integers(2, 12))
    module = exported(
        tmp_path / "a.onnx", gate=False, inputs=inputs, hidden=hidden,
        size=data.draw(st.integers(1, hidden - 1)), num_layers=data.draw(st.integers(1, 3)),
        bidirectional=data.draw(st.booleans()), bias=data.draw(st.booleans()),
    )  # fmt: skip
    session = load(tmp_path / "a.onnx", "cpu")
    for batch, steps in ((1, 1), (4, 37)):
        x = normal(batch, steps, inputs)
        got = session.run({"x": x})
        for name, value in reference(module, x).items():
            np.testing.assert_allclose(got[name], value, atol=2e-6)


@pytest.mark.parametrize(("both", "layers"), [*product((False, True), (1, 2))])
def test_generated_c_computes_the_same(tmp_path: Path, both: bool, layers: int) -> None:
    module = exported(tmp_path / "a.onnx", gate=False, bidirectional=both, num_layers=layers)
    native = partial(load, target="native", compile=generate)(tmp_path / "a.onnx")
    x = normal(1, 23, 5)
    got = native.run({"x": x})
    for name, value in reference(module, x).items():
        np.testing.assert_allclose(got[name], value, atol=2e-5)


class Twice(nn.Module):
    """One projected layer, used two times."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 7, proj_size=3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.rnn(x)[0])[0]


def test_a_layer_may_be_used_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Twice().eval()
    export(module, (torch.zeros(1, 9, 3),), tmp_path / "a.onnx", load=open_cpu)
    model = onnx.load(tmp_path / "a.onnx")
    assert [node.name for node in model.graph.node if node.op_type == "Scan"] == [
        "rnn.l0",
        "rnn.l0#2",
    ]
    native = load(tmp_path / "a.onnx", "native", compile=generate)
    x = normal(1, 23, 3)
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(native.run({"x": x})["y"], want, atol=2e-5)


def test_quantizing_keeps_the_loop_in_float(tmp_path: Path) -> None:
    module = exported(tmp_path / "a.onnx", hidden=32, size=16, num_layers=2)
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", precision="int8-dynamic", load=open_cpu)
    layers = load(tmp_path / "b.onnx", "cpu").metadata.layers
    assert layers is not None
    assert {name: layers[name] for name in ("first", "rnn.l0.input", "head")} == dict.fromkeys(
        ("first", "rnn.l0.input", "head"), "int8-dynamic"
    )
    x = normal(2, 50, 5)
    got = load(tmp_path / "b.onnx", "cpu").run({"x": x})["y"]
    want = reference(module, x)["y"]
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()
    assert not np.array_equal(got, want)
