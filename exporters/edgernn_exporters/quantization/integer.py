"""Precisions ``int8``, ``w8a16`` and ``int4``: integer layers with fixed ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn.errors import UsageError
from edgernn.integer import (
    InputScale,
    LayerRange,
    LinearParameters,
    Precision,
    Ranges,
    RecurrentParameters,
    linear_parameters,
    recurrent_parameters,
)
from edgernn.integer.weights import quantize_rows
from edgernn_exporters.quantization.forms import Rewrite
from edgernn_exporters.quantization.functions.integer import SUFFIXES
from edgernn_exporters.quantization.graph import GraphEditor
from edgernn_exporters.quantization.layers import KeepError, name_of, require_few_inputs
from edgernn_exporters.quantization.linear import read_linear
from edgernn_exporters.quantization.recurrent import (
    Recurrent,
    attributes_of,
    call_directions,
    join_sequences,
    read_recurrent,
    without_copies,
)
from edgernn_exporters.quantization.states import States
from edgernn_exporters.quantization.weights import stored

OPSET = 21
"""Oldest opset with 4-bit tensors and 16-bit QuantizeLinear."""


@dataclass(frozen=True)
class Integer:
    """Rewrite nodes to one integer precision.

    Attributes:
        precision: Widths.
        ranges: Of the layers; None if there are none.
        states: Of the model.
    """

    precision: Precision
    ranges: Ranges | None
    states: States

    def rewrites(self) -> Mapping[str, Rewrite]:
        """Return what rewrites each operator."""
        return {
            **dict.fromkeys(("LSTM", "GRU", "RNN"), self._recurrent),
            **dict.fromkeys(("MatMul", "Gemm"), self._linear),
            "Conv": self._convolution,
            "Gather": self._embedding,
        }

    @property
    def _suffix(self) -> str:
        return SUFFIXES[self.precision.name]

    def _range(self, name: str) -> LayerRange:
        if self.ranges is None:
            raise UsageError(
                f"precision {self.precision.name} needs to know the range of what goes into layer "
                f"{name!r}; give data with --calibration (in Python calibration=…)"
            )
        return self.ranges.of(name)

    def _require_trained(self, node: onnx.NodeProto) -> None:
        """Keep a layer float that training left so; before its node is read, which may change it.

        Raises:
            KeepError: The ranges are from training, and there are none for the layer.
        """
        found = self.ranges
        if found is not None and found.method == "training" and name_of(node) not in found.layers:
            raise KeepError("was not quantized in training")

    def _linear(self, graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        self._require_trained(node)
        layer = read_linear(graph, node, self.precision.most)
        scale = self._range(layer.name).input_scale(self.precision.input_bits)
        made = linear_parameters(layer.weight, layer.bias, scale, self.precision, layer.name)
        inputs = [layer.x, *self._product(graph, layer.name, made)]
        call = graph.call(f"Linear{self._suffix}", inputs, [layer.output], name=layer.name)
        return [call]

    def _recurrent(self, graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        self._require_trained(node)
        layer = read_recurrent(graph, node)
        for weight in (layer.w, layer.r):
            require_few_inputs(weight.shape[-1], self.precision.most)
        found = self._range(layer.name)
        made = [self._parameters(layer, found, d) for d in range(len(layer.reverse))]
        units = [[item.state_unit for item in made], [2.0**-item.cell_bits for item in made]]

        def weights(d: int, base: str) -> list[str]:
            return self._weights(graph, layer, made[d], base)

        nodes: list[onnx.NodeProto] = []
        starts = []
        for index in range(len(layer.states())):
            before, names = self.states.first(graph, layer, index, units[index])
            nodes += before
            starts.append(names)
        calls = call_directions(graph, layer, self._suffix, weights, starts)
        nodes += [*calls.nodes, *join_sequences(graph, calls.sequences, node.output[0])]
        for index, names in enumerate(calls.lasts):
            nodes += self.states.last(graph, layer, index, units[index], names)
        return without_copies(nodes)

    def _parameters(self, layer: Recurrent, found: LayerRange, d: int) -> RecurrentParameters:
        return recurrent_parameters(
            layer.cell.lower(),
            layer.w[d],
            layer.r[d],
            layer.b[d],
            found.input_scale(self.precision.input_bits),
            self.precision,
            linear_before_reset=layer.linear_before_reset,
            largest_cell=found.largest_cell[d] if layer.cell == "LSTM" else 0.0,
            largest_state=found.largest_state[d] if layer.relu else 0.0,
            relu=layer.relu,
            name=layer.name,
        )

    def _product(self, graph: GraphEditor, base: str, made: LinearParameters) -> list[str]:
        """Add the constants of a product; return the names ``xc, xi, w, wm, wb``."""
        return [
            graph.add(f"{base}.xc", made.x.center),
            graph.add(f"{base}.xi", made.x.inverse),
            self._weight(graph, f"{base}.w", made.values),
            graph.add(f"{base}.wm", made.multiplier),
            graph.add(f"{base}.wb", made.bias),
        ]

    def _weight(self, graph: GraphEditor, name: str, values: NDArray[np.int8]) -> str:
        bits = self.precision.weight_bits
        return graph.add(name, stored(values, bits), bits=bits if bits == 4 else 0)

    def _weights(
        self, graph: GraphEditor, layer: Recurrent, made: RecurrentParameters, base: str
    ) -> list[str]:
        """Add the constants of one direction; return the names of a function's inputs."""
        names = self._product(graph, base, made.input)
        r, multiplier, split = made.recurrent, made.recurrent_multiplier, 2 * made.hidden_size
        parts = {"r": (r, multiplier)}
        if layer.function == "GRUResetBefore":
            parts = {
                "r": (r[:, :split], multiplier[:split]),
                "r2": (r[:, split:], multiplier[split:]),
            }
        for letter, (values, scale) in parts.items():
            names.append(self._weight(graph, f"{base}.{letter}", values))
            names.append(graph.add(f"{base}.{letter.replace('r', 'rm')}", scale))
        if layer.function == "GRU":
            assert made.recurrent_bias is not None
            names.append(graph.add(f"{base}.rb", made.recurrent_bias))
        elif layer.function == "LSTM":
            bits = made.cell_bits
            units = np.array([1 << (15 - bits), 1 << (13 - bits)], np.int32)
            names.append(graph.add(f"{base}.cu", units))
        elif layer.function == "RNNRelu":
            names.append(graph.add(f"{base}.hu", np.array([made.state_unit], np.float32)))
        return names

    def _convolution(self, graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        self._require_trained(node)
        weight = graph.constant(node.input[1])
        bias_name = node.input[2] if len(node.input) > 2 else ""
        bias = graph.constant(bias_name)
        if weight is None or weight.ndim not in (3, 4):
            raise KeepError("the weights are not constants of a 1-D or 2-D convolution")
        if bias_name and bias is None:
            raise KeepError("the bias is not a constant")
        name = name_of(node)
        rows = weight.reshape(weight.shape[0], -1).T
        require_few_inputs(len(rows), self.precision.most)
        given = self._range(name).input_scale(self.precision.input_bits)
        if given.inverse.shape != (1,) or given.center.any():
            raise KeepError("its range is not one for all channels around 0; calibrate again")
        scale = InputScale(np.zeros(len(rows), np.float32), np.repeat(given.inverse, len(rows)))
        made = linear_parameters(rows, bias, scale, self.precision, name)
        column = (-1, *[1] * (weight.ndim - 2))
        values = np.ascontiguousarray(made.values.T).reshape(weight.shape)
        inputs = [
            node.input[0],
            graph.add(f"{name}.xc", given.center),
            graph.add(f"{name}.xi", given.inverse),
            self._weight(graph, f"{name}.w", values),
            graph.add(f"{name}.wm", made.multiplier.reshape(column)),
            graph.add(f"{name}.wb", made.bias.reshape(column)),
        ]
        call = graph.call(f"Conv{self._suffix}", inputs, [node.output[0]], name=name,
                          **attributes_of(node))  # fmt: skip
        return [call]

    def _embedding(self, graph: GraphEditor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Rewrite an embedding: its table has no inputs, so 16 bits are the same as 8."""
        table = graph.constant(node.input[0])
        assert table is not None
        name, bits = name_of(node), self.precision.weight_bits
        made = quantize_rows(table.T, name, bits=bits)
        values = np.ascontiguousarray(made.values.T)
        inputs = [
            node.input[1],
            self._weight(graph, f"{node.input[0]}.w", values),
            graph.add(f"{node.input[0]}.ws", made.scale),
        ]
        function = "EmbeddingInt4" if bits == 4 else "EmbeddingInt8"
        return [graph.call(function, inputs, [node.output[0]], name=name)]
