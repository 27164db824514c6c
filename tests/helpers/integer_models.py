"""Calls of the functions of int8, w8a16 and int4, made from `edgernn.integer` parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers.graphs import Floats
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.integer import (
    INTEGER,
    InputScale,
    LinearParameters,
    RecurrentParameters,
    linear_parameters,
    recurrent_parameters,
)
from edgernn.integer import cells as integer
from edgernn.metadata import Metadata

DOMAIN = "edgernn"
SUFFIXES = {"int8": "Int8", "w8a16": "W8A16", "int4": "Int4"}
CELLS = ("lstm", "gru", "gru-reset-before", "rnn", "rnn-relu")
GATES = {"lstm": 4, "gru": 3, "gru-reset-before": 3, "rnn": 1, "rnn-relu": 1}
_FUNCTIONS = {"lstm": "LSTM", "gru": "GRU", "gru-reset-before": "GRUResetBefore",
              "rnn": "RNNTanh", "rnn-relu": "RNNRelu"}  # fmt: skip


def stored_weight(name: str, values: NDArray[np.int8], bits: int) -> onnx.TensorProto:
    """Return weights as quantized files hold them."""
    if bits == 8:
        return numpy_helper.from_array((values.astype(np.int16) + 128).astype(np.uint8), name)
    flat = (values.astype(np.int16) + 8).ravel().tolist()
    return helper.make_tensor(name, TensorProto.UINT4, values.shape, flat)


def draw_scale(rng: np.random.Generator, size: int, bits: int, spread: float) -> InputScale:
    """Return ranges around ``spread``, for each input or for all."""
    count = size if rng.random() < 0.7 else 1
    low = rng.uniform(-2, 0.5, count) * spread
    return InputScale.of_range(
        low.astype(np.float32), (low + rng.uniform(0, 3, count) * spread).astype(np.float32), bits
    )


def draw_layer(
    cell: str, precision: str, inputs: int, hidden: int, seed: int, scale: float = 1.0
) -> RecurrentParameters:
    """Return a random layer; ``scale`` makes its weights and ranges large or small."""
    rng = np.random.default_rng(seed)
    rows, kind = GATES[cell] * hidden, INTEGER[precision]
    reach = scale * 2 * hidden**-0.5

    def draw(*shape: int) -> Floats:
        values = rng.uniform(-reach, reach, shape)
        values[rng.random(shape) < 0.02] = 0
        return values.astype(np.float32)

    return recurrent_parameters(
        cell.partition("-")[0], draw(rows, inputs), draw(rows, hidden), draw(2 * rows),
        draw_scale(rng, inputs, kind.input_bits, scale), kind,
        linear_before_reset=cell == "gru", largest_cell=float(rng.uniform(1, 2000)),
        largest_state=float(10.0 ** rng.uniform(-3, 4)), relu=cell == "rnn-relu",
    )  # fmt: skip


def draw_linear(precision: str, inputs: int, outputs: int, seed: int) -> LinearParameters:
    """Return a random linear layer."""
    rng = np.random.default_rng(seed)
    kind = INTEGER[precision]
    weight = rng.normal(0, 1, (inputs, outputs)).astype(np.float32)
    bias = rng.normal(0, 1, outputs).astype(np.float32)
    return linear_parameters(weight, bias, draw_scale(rng, inputs, kind.input_bits, 2.0), kind)


class Graph:
    """Collects nodes and constants of a model."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        """Add a constant."""
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def product(self, tag: str, layer: LinearParameters) -> list[str]:
        """Add the constants of a product with float inputs."""
        self.initializers.append(
            stored_weight(f"{tag}w", layer.values, layer.precision.weight_bits)
        )
        return [
            self.constant(f"{tag}xc", layer.x.center), self.constant(f"{tag}xi", layer.x.inverse),
            f"{tag}w", self.constant(f"{tag}wm", layer.multiplier),
            self.constant(f"{tag}wb", layer.bias),
        ]  # fmt: skip

    def weight(self, tag: str, values: NDArray[np.int8], scale: Floats, bits: int) -> list[str]:
        """Add the constants of a product with states."""
        self.initializers.append(stored_weight(tag, values, bits))
        return [tag, self.constant(f"{tag}m", scale)]

    def linear(self, x: str, y: str, layer: LinearParameters, tag: str) -> None:
        """Add a linear layer."""
        name = f"Linear{SUFFIXES[layer.precision.name]}"
        inputs = [x, *self.product(tag, layer)]
        self.nodes.append(helper.make_node(name, inputs, [y], domain=DOMAIN))

    def recurrent(
        self, cell: str, layer: RecurrentParameters, x: str, y: str, starts: Sequence[str],
        ends: Sequence[str], tag: str, *, reverse: bool = False,
    ) -> None:  # fmt: skip
        """Add one direction of a recurrent layer."""
        bits, r, m = layer.precision.weight_bits, layer.recurrent, layer.recurrent_multiplier
        inputs = [x, *self.product(tag, layer.input)]
        split = 2 * layer.hidden_size
        if cell == "gru-reset-before":
            inputs += self.weight(f"{tag}r", r[:, :split], m[:split], bits)
            inputs += self.weight(f"{tag}r2", r[:, split:], m[split:], bits)
        else:
            inputs += self.weight(f"{tag}r", r, m, bits)
        if cell == "lstm":
            f = layer.cell_bits
            inputs.append(self.constant(f"{tag}cu", np.int32([1 << (15 - f), 1 << (13 - f)])))
        elif cell == "gru":
            inputs.append(self.constant(f"{tag}rb", layer.recurrent_bias))
        elif cell == "rnn-relu":
            inputs.append(self.constant(f"{tag}hu", np.float32([layer.state_unit])))
        name = _FUNCTIONS[cell] + SUFFIXES[layer.precision.name]
        attributes = {"reverse": [1]} if reverse else {}
        self.nodes.append(
            helper.make_node(name, [*inputs, *starts], [y, *ends], domain=DOMAIN, **attributes)
        )

    def model(
        self, inputs: dict[str, tuple[str, list[int | str]]],
        outputs: dict[str, tuple[str, list[int | str]]],
    ) -> onnx.ModelProto:  # fmt: skip
        """Return the model; tensors are given as dtype and shape."""

        def values(tensors: dict[str, tuple[str, list[int | str]]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
                )
                for name, (dtype, shape) in tensors.items()
            ]

        graph = helper.make_graph(
            self.nodes, "test", values(inputs), values(outputs), self.initializers
        )
        imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


def layer_model(
    cell: str, layer: RecurrentParameters, batch: int, time: int, *, reverse: bool = False
) -> onnx.ModelProto:
    """Return ``x, h (, c) -> y, hk (, ck)`` of fixed sizes, without a contract."""
    graph, letters = Graph(), "hc" if cell == "lstm" else "h"
    graph.recurrent(
        cell, layer, "x", "y", list(letters), [f"{s}k" for s in letters], "", reverse=reverse
    )
    state: tuple[str, list[int | str]] = ("int16", [1, batch, layer.hidden_size])
    inner = layer.input.values.shape[0]
    return graph.model(
        {"x": ("float32", [time, batch, inner]), **dict.fromkeys(letters, state)},
        {"y": ("float32", [time, batch, layer.hidden_size]),
         **{f"{s}k": state for s in letters}},
    )  # fmt: skip


def expected_layer(
    layer: RecurrentParameters, x: Floats, starts: list[NDArray[np.int16]], *, reverse: bool = False
) -> dict[str, NDArray[Any]]:
    """Run a layer in numpy."""
    given = x[::-1] if reverse else x
    y, *last = integer.recurrent(given, layer, *(s[0].astype(np.int32) for s in starts))
    y = y[::-1] if reverse else y
    found: dict[str, NDArray[Any]] = {"y": y.astype(np.float32) * np.float32(layer.state_unit)}
    for name, value in zip(("hk", "ck"), last, strict=False):
        found[name] = value[None].astype(np.int16)
    return found


class Stack:
    """A model ``x [time, batch, I] -> y [time, batch, O]`` of stacked layers, with a contract.

    Each recurrent layer feeds the next; a linear layer is the last.
    """

    def __init__(
        self, cell: str, precision: str, sizes: Sequence[int], outputs: int = 5, seed: int = 0
    ) -> None:
        self.cell = cell
        self.layers = [
            draw_layer(cell, precision, inputs, hidden, seed + place)
            for place, (inputs, hidden) in enumerate(pairwise(sizes))
        ]
        self.linear = draw_linear(precision, sizes[-1], outputs, seed + 99)
        self.inputs, self.outputs = sizes[0], outputs

    @property
    def letters(self) -> str:
        """Return the states of a layer."""
        return "hc" if self.cell == "lstm" else "h"

    def write(self, path: Path) -> Path:
        """Write the ONNX file."""
        graph, x, states = Graph(), "x", []
        for place, layer in enumerate(self.layers):
            names = [f"{letter}_l{place}" for letter in self.letters]
            units = (layer.state_unit, 2.0**-layer.cell_bits)
            states += [
                (StateSpec(name, f"{name}_next", 1, "int16", scale=unit), layer.hidden_size)
                for name, unit in zip(names, units, strict=False)
            ]
            ends = [f"{name}_next" for name in names]
            graph.recurrent(self.cell, layer, x, f"y{place}", names, ends, f"l{place}_")
            x = f"y{place}"
        graph.linear(x, "y", self.linear, "linear_")
        sizes = {spec: ("int16", [1, "batch", hidden]) for spec, hidden in states}
        model = graph.model(
            {"x": ("float32", ["time", "batch", self.inputs]),
             **{spec.input: size for spec, size in sizes.items()}},
            {"y": ("float32", ["time", "batch", self.outputs]),
             **{spec.output: size for spec, size in sizes.items()}},
        )  # fmt: skip
        axes = Axes(batch=1, time=0)
        stream = StreamSpec(causal=True, inputs={"x": axes}, outputs={"y": axes})
        contract = Contract(tuple(sizes), stream)
        metadata = Metadata(contract, precision=self.linear.precision.name)
        helper.set_model_props(model, metadata.to_props())
        onnx.save(model, path)
        return path

    def run(self, x: Floats) -> tuple[Floats, dict[str, NDArray[np.int16]]]:
        """Return outputs and last states in numpy, from zeros."""
        states = {}
        for place, layer in enumerate(self.layers):
            shape = (x.shape[1], layer.hidden_size)
            starts = [np.zeros(shape, np.int32) for _ in self.letters]
            y, *last = integer.recurrent(x, layer, *starts)
            for letter, value in zip(self.letters, last, strict=True):
                states[f"{letter}_l{place}"] = value[None].astype(np.int16)
            x = y.astype(np.float32) * np.float32(layer.state_unit)
        return integer.linear(x, self.linear), states
