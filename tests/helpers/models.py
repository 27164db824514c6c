"""Small recurrent ONNX models with a state contract, written without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.files import sha256_of
from edgernn.metadata import Metadata

GATES = {"gru": 3, "lstm": 4, "rnn": 1}
LOGMEL = {"kind": "logmel", "hop_ms": 10.0}


@dataclass(frozen=True)
class ModelPair:
    """A float model and one that claims to be made from it, with slightly other weights."""

    plain: Path
    small: Path


def write_pair(folder: Path) -> ModelPair:
    """Write ``kw.onnx`` and ``kw.int8.onnx``, with log-mel preprocessing every 10 ms."""
    plain = write_model(folder / "kw.onnx", preprocessing=LOGMEL)
    small = write_model(
        folder / "kw.int8.onnx",
        noise=0.01,
        precision="int8-dynamic",
        parent=sha256_of(plain),
        preprocessing=LOGMEL,
    )
    return ModelPair(plain, small)


def write_model(
    path: Path,
    *,
    cell: str = "gru",
    input_size: int = 8,
    hidden_size: int = 16,
    layers: int = 1,
    bidirectional: bool = False,
    output_size: int = 4,
    embedding: int | None = None,
    time: int | str = "time",
    seed: int = 0,
    noise: float = 0.0,
    contract: bool = True,
    precision: str = "float32",
    parent: str | None = None,
    task: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``x [batch, time, input_size] -> y [batch, time, output_size]``, and return ``path``.

    States are ``h_l0 [D, batch, hidden_size]`` (and ``c_l0`` for LSTM) and so on per layer, their
    next values ``h_l0_next`` …. Weights depend on ``seed`` and the sizes only.

    Args:
        path: File to write.
        cell: ``"gru"`` (linear_before_reset=1), ``"lstm"`` or ``"rnn"`` (tanh).
        input_size: Features of x.
        hidden_size: Units per direction.
        layers: Stacked recurrent layers.
        bidirectional: Two directions; the contract then says not causal.
        output_size: Features of y, from a linear layer.
        embedding: Rows of an embedding table; x is then int64 ids ``[batch, time]``.
        time: Size of the time axis, or its name.
        seed: Of the weights.
        noise: Standard deviation of what is added to each weight, to imitate quantization.
        contract: Write the state contract; False leaves the states as plain inputs.
        precision: What the metadata says.
        parent: What the metadata says.
        task: What the metadata says.
        preprocessing: What the metadata says.
    """
    build = _Builder(np.random.default_rng(seed), np.random.default_rng(seed + 1), noise)
    directions = 2 if bidirectional else 1
    sequence, width = "x", input_size
    if embedding is not None:
        table = build.weight("table", (embedding, input_size), 1.0)
        sequence = build.node("Gather", [table, "x"])
    sequence = build.node("Transpose", [sequence], perm=[1, 0, 2])
    states: list[str] = []
    for layer in range(layers):
        names = [f"{letter}_l{layer}" for letter in ("hc" if cell == "lstm" else "h")]
        states += names
        sequence = build.recurrent(cell, sequence, names, width, hidden_size, directions)
        width = hidden_size * directions
    sequence = build.node("Transpose", [sequence], perm=[1, 0, 2])
    weight = build.weight("linear_w", (width, output_size), width**-0.5)
    bias = build.weight("linear_b", (output_size,), 0.1)
    build.node("Add", [build.node("MatMul", [sequence, weight]), bias], output="y")

    state_shape = [directions, "batch", hidden_size]
    x_type, x_shape = TensorProto.FLOAT, ["batch", time, input_size]
    if embedding is not None:
        x_type, x_shape = TensorProto.INT64, ["batch", time]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        build.nodes,
        "recurrent",
        [value("x", x_type, x_shape)] + [value(s, TensorProto.FLOAT, state_shape) for s in states],
        [value("y", TensorProto.FLOAT, ["batch", time, output_size])]
        + [value(f"{s}_next", TensorProto.FLOAT, state_shape) for s in states],
        build.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    axes = {"x": Axes(batch=0, time=1)}
    stream = StreamSpec(not bidirectional, axes, {"y": Axes(batch=0, time=1)})
    specs = tuple(StateSpec(s, f"{s}_next", batch_axis=1) for s in states)
    metadata = Metadata(
        Contract(specs, stream) if contract else None,
        task=task,
        preprocessing=preprocessing,
        precision=precision,
        parent=parent,
    )
    helper.set_model_props(model, metadata.to_props())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


class _Builder:
    def __init__(
        self, rng: np.random.Generator, noise_rng: np.random.Generator, noise: float
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._rng, self._noise_rng, self._noise = rng, noise_rng, noise

    def weight(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        value = self._rng.uniform(-scale, scale, shape)
        value += self._noise * self._noise_rng.standard_normal(shape)
        self.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(
        self, operator: str, inputs: list[str], *, output: str | None = None, **attributes: Any
    ) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def recurrent(
        self, cell: str, x: str, states: list[str], input_size: int, hidden: int, directions: int
    ) -> str:
        """Append one layer on ``[T, B, I]`` and return the name of its ``[T, B, D*H]``."""
        gates, scale, at = GATES[cell], hidden**-0.5, len(self.nodes)
        weights = [
            self.weight(f"W_{at}", (directions, gates * hidden, input_size), scale),
            self.weight(f"R_{at}", (directions, gates * hidden, hidden), scale),
            self.weight(f"B_{at}", (directions, 2 * gates * hidden), scale),
        ]
        attributes: dict[str, Any] = {"hidden_size": hidden}
        attributes["direction"] = "bidirectional" if directions == 2 else "forward"
        if cell == "gru":
            attributes["linear_before_reset"] = 1
        outputs = [f"sequence_{at}", *[f"{state}_next" for state in states]]
        inputs = [x, *weights, "", *states]
        self.nodes.append(helper.make_node(cell.upper(), inputs, outputs, **attributes))
        swapped = self.node("Transpose", [outputs[0]], perm=[0, 2, 1, 3])
        shape = f"shape_{at}"
        self.initializers.append(numpy_helper.from_array(np.array([0, 0, -1]), shape))
        return self.node("Reshape", [swapped, shape])
