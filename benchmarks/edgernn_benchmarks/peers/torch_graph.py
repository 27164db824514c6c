"""Read a graph back as the chain of PyTorch modules that it was exported from.

The chains that edgernn's exporter writes: recurrent layers, linear layers, an embedding and
activations, one after the other, with batch and time swapped in between. Other graphs are refused
with the first node that is not understood.

Source: ONNX operators LSTM-14, GRU-14, RNN-14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgernn.errors import ModelError
from edgernn.sessions import Array
from edgernn_benchmarks.peers.engine import refused
from edgernn_benchmarks.peers.model import PeerModel

ACTIVATIONS = ("Relu", "Sigmoid", "Tanh")
_DEFAULTS = {"layout": 0, "input_forget": 0}
_CELLS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@dataclass(frozen=True)
class Layer:
    """One recurrent layer.

    Attributes:
        kind: ``"LSTM"``, ``"GRU"`` or ``"RNN"``.
        activation: Of an RNN: ``"Tanh"`` or ``"Relu"``.
        bidirectional: Two directions.
        w: ``[D, G*H, I]``, gates in ONNX's order.
        r: ``[D, G*H, H]``.
        b: ``[D, 2*G*H]``, or None.
        states: Names of the state inputs: h, and c for LSTM.
    """

    kind: str
    activation: str
    bidirectional: bool
    w: Array
    r: Array
    b: Array | None
    states: tuple[str, ...]


@dataclass(frozen=True)
class Linear:
    """``x @ weight + bias``."""

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True)
class Embedding:
    """Rows of a table."""

    table: Array


@dataclass(frozen=True)
class Activation:
    """An elementwise function of `ACTIVATIONS`."""

    name: str


@dataclass(frozen=True)
class Swap:
    """Exchange of the first two axes."""


Stage = Layer | Linear | Embedding | Activation | Swap


def read_chain(model: PeerModel) -> list[Stage]:
    """Return the stages from the one input to the one output.

    Raises:
        ModelError: The graph is no such chain; names the first node that does not fit.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise refused("torch", model.path, "it has more than one input or output")
    reader = _Reader(model, model.inputs[0].name)
    for node in model.proto.graph.node:
        reader.take(node)
    if reader.at != model.outputs[0].name:
        raise refused("torch", model.path, f"its output is not the last tensor, {reader.at!r}")
    return reader.stages


class _Reader:
    def __init__(self, model: PeerModel, start: str) -> None:
        self._model = model
        self._constants = {t.name: t for t in model.proto.graph.initializer}
        self._next = {state.input: state.output for state in model.contract.states}
        self.at = start
        self.stages: list[Stage] = []

    def take(self, node: onnx.NodeProto) -> None:
        """Add one node's stage."""
        kind = node.op_type
        if node.domain not in ("", "ai.onnx") or self.at not in node.input:
            raise self._no(node, "it is not one chain of standard operators")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if kind in _CELLS:
            self.stages.append(self._layer(node, attributes))
        elif kind == "Transpose":
            self._transpose(node, list(attributes.get("perm", [])))
        elif kind in ("Squeeze", "Reshape"):
            self._joined(node)
        elif kind == "Gather" and attributes.get("axis", 0) == 0:
            self.stages.append(Embedding(self._constant(node, 0)))
        elif kind == "MatMul":
            self.stages.append(Linear(self._constant(node, 1)))
        elif kind == "Add":
            self._bias(node)
        elif kind in ACTIVATIONS:
            self.stages.append(Activation(kind))
        else:
            raise self._no(node, "only recurrent and linear layers are rebuilt")
        self.at = node.output[0]

    def _layer(self, node: onnx.NodeProto, given: dict[str, Any]) -> Layer:
        inputs = [*node.input, *[""] * 8][:8]
        kind, direction = node.op_type, given.get("direction", b"forward").decode()
        for name, usual in _DEFAULTS.items():
            if given.get(name, usual) != usual:
                raise self._no(node, f"PyTorch has no {name}={given[name]}")
        count = 2 if direction == "bidirectional" else 1
        names = [n.decode() for n in given.get("activations", [])] or _CELLS[kind] * count
        plain = names == _CELLS[kind] * count or (kind == "RNN" and set(names) == {"Relu"})
        before_reset = kind != "GRU" or given.get("linear_before_reset", 0) == 1
        if direction == "reverse" or "clip" in given or not plain or not before_reset:
            raise self._no(node, "PyTorch has no layer with its attributes")
        states = tuple(inputs[5 : 7 if kind == "LSTM" else 6])
        if inputs[4] or inputs[7] or any(name not in self._next for name in states):
            raise self._no(node, "PyTorch has no layer with its optional inputs")
        if list(node.output[1:]) != [self._next[name] for name in states]:
            raise self._no(node, "its last states are not those of the contract")
        return Layer(
            kind=kind,
            activation=names[0] if kind == "RNN" else "Tanh",
            bidirectional=count == 2,
            w=self._constant(node, 1),
            r=self._constant(node, 2),
            b=self._constant(node, 3) if inputs[3] else None,
            states=states,
        )

    def _transpose(self, node: onnx.NodeProto, perm: list[int]) -> None:
        last = self.stages[-1] if self.stages else None
        if perm == [1, 0, 2]:
            self.stages.append(Swap())
        elif not (perm == [0, 2, 1, 3] and isinstance(last, Layer)):
            raise self._no(node, f"a transpose by {perm} is not rebuilt")

    def _joined(self, node: onnx.NodeProto) -> None:
        """Check that a layer's directions are joined, which PyTorch's layers do themselves."""
        last = self.stages[-1] if self.stages else None
        how = self._constant(node, 1).tolist()
        wanted = [1] if node.op_type == "Squeeze" else [0, 0, -1]
        if not isinstance(last, Layer) or how != wanted:
            raise self._no(node, "only directions that are joined are rebuilt")

    def _bias(self, node: onnx.NodeProto) -> None:
        last = self.stages[-1] if self.stages else None
        bias = self._constant(node, 1 if node.input[0] == self.at else 0)
        if not isinstance(last, Linear) or last.bias is not None or bias.ndim != 1:
            raise self._no(node, "only the bias of a linear layer is rebuilt")
        self.stages[-1] = Linear(last.weight, bias)

    def _constant(self, node: onnx.NodeProto, index: int) -> Array:
        name = node.input[index]
        if name not in self._constants:
            raise self._no(node, f"its input {name!r} is not a constant")
        value: Array = np.array(numpy_helper.to_array(self._constants[name]))
        return value

    def _no(self, node: onnx.NodeProto, why: str) -> ModelError:
        name = node.name or node.output[0]
        return refused("torch", self._model.path, f"node {name!r} ({node.op_type}): {why}")
