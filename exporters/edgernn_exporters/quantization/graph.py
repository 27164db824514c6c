"""Replace nodes of an ONNX graph in place, and keep track of its constants and names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn_exporters.quantization.functions import DOMAIN, function, with_callees
from edgernn_exporters.quantization.opset import at_least, opset_of
from edgernn_exporters.quantization.weights import nibbles

Floats = NDArray[np.float32]


class GraphEditor:
    """Hold the graph of a model while its nodes are replaced.

    Requires the names of all values to be unique, which ONNX guarantees. A model of an older opset
    is converted first.

    Args:
        model: Changed in place.
        opset: Oldest opset that the new nodes can do with.
    """

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        at_least(model, opset)
        self.model = model
        self.graph = model.graph
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self._added: list[onnx.TensorProto] = []
        self._functions: set[str] = set()
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        self._captured: set[str] = set()
        for node in self.graph.node:
            inner = list(captured(node))
            self._captured.update(inner)
            for name in (*node.input, *inner):
                self._consumers.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self.graph.output}
        self._taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self._taken |= self._captured | {value.name for value in self.graph.input}
        self._added_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._skipped: set[int] = set()
        self._dropped: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._count = 0

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield the nodes, without those that an earlier rewrite took in."""
        for node in list(self.graph.node):
            if id(node) not in self._skipped:
                yield node

    def constant(self, name: str) -> Floats | None:
        """Return a float32 initializer, or None."""
        tensor = self._initializers.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        return numpy_helper.to_array(tensor)

    def integers(self, name: str) -> list[int] | None:
        """Return the values of an int64 initializer, or None."""
        tensor = self._initializers.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.INT64:
            return None
        return [int(value) for value in numpy_helper.to_array(tensor).reshape(-1)]

    def add(self, name: str, value: NDArray[np.generic], *, bits: int = 0) -> str:
        """Add an initializer and return its (unique) name; equal ones are stored once.

        Args:
            name: Name if it is free.
            value: Array; with 4 ``bits`` unsigned bytes below 16, which become UINT4.
            bits: 4, or 0 for the type of the array.
        """
        value = np.ascontiguousarray(value).reshape(value.shape)
        digest = hashlib.sha256(value.data.cast("B") if value.size else b"").digest()
        key = (f"{value.dtype.name}{bits}", value.shape, digest)
        if key not in self._added_names:
            unique = self._added_names[key] = self.unique(name)
            four = bits == 4
            self._added.append(
                nibbles(unique, value.view(np.uint8)) if four
                else numpy_helper.from_array(value, unique)
            )  # fmt: skip
        return self._added_names[key]

    def unique(self, name: str) -> str:
        """Return a name that the graph does not use."""
        candidate = name
        while candidate in self._taken or candidate in self._initializers:
            self._count += 1
            candidate = f"{name}_{self._count}"
        self._taken.add(candidate)
        return candidate

    def call(
        self, function: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> onnx.NodeProto:
        """Make a node that calls one of our functions; ``name`` may be among the attributes."""
        self._functions.add(function)
        return helper.make_node(function, inputs, outputs, domain=DOMAIN, **attributes)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read ``name``, themselves or in a subgraph."""
        return self._consumers.get(name, [])

    def sole_consumer(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """Return the node that alone reads ``name``, if it is an ``op_type``."""
        users = self.consumers(name)
        if len(users) == 1 and users[0].op_type == op_type and name not in self._outputs:
            return users[0]
        return None

    def is_captured(self, name: str) -> bool:
        """Tell whether a subgraph reads ``name``."""
        return name in self._captured

    def skip(self, node: onnx.NodeProto) -> None:
        """Leave out a node that has been taken into another."""
        self._skipped.add(id(node))

    def drop(self, name: str) -> None:
        """Leave out an initializer that no node reads."""
        self._dropped.add(name)

    def retype(self, name: str, data_type: int) -> None:
        """Change the element type of a graph input or output."""
        for value in (*self.graph.input, *self.graph.output):
            if value.name == name:
                value.type.tensor_type.elem_type = data_type

    def read_instead(self, name: str, other: str) -> None:
        """Let nodes read ``other`` instead of ``name``, except the one that makes ``other``."""
        self._renamed[name] = other

    def finish(self, nodes: list[onnx.NodeProto]) -> None:
        """Put the new nodes in, and drop the weights that nobody reads any more."""
        kept = [node for node in nodes if id(node) not in self._skipped]
        others = set(self._renamed.values())
        for node in kept:
            if others.isdisjoint(node.output):
                node.input[:] = [self._renamed.get(name, name) for name in node.input]
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(kept)
        used = {name for node in kept for name in node.input} | self._outputs
        used |= {name for node in kept for name in captured(node)}
        # What no node read before may be an initial state that the contract names.
        used |= set(self._initializers) - set(self._consumers)
        used -= self._dropped
        tensors = [t for t in self.graph.initializer if t.name in used] + self._added
        dropped = set(self._initializers) - used
        inputs = [value for value in self.graph.input if value.name not in dropped]
        del self.graph.initializer[:], self.graph.input[:]
        self.graph.initializer.extend(tensors)
        self.graph.input.extend(inputs)  # old files list their initializers as inputs, too
        if not self._functions:
            return
        opset = opset_of(self.model)
        names = with_callees(self._functions)
        self.model.functions.extend(function(name, opset) for name in names)
        self.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        self.model.ir_version = max(self.model.ir_version, 8)  # functions exist since IR version 8


def captured(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node's subgraphs read, outer ones among them."""
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from inner.input
                yield from captured(inner)
