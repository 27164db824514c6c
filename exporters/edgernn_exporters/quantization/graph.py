"""Replace nodes of an ONNX graph in place, and keep track of its constants and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter

from edgernn.errors import ModelError
from edgernn_exporters.quantization.functions import DOMAIN, OPSET, function

Floats = NDArray[np.float32]
_OLDEST_OPSET = 18  # the functions use operator forms of opset 18


class GraphEditor:
    """Hold the graph of a model while its nodes are replaced.

    Requires the names of all values to be unique, which ONNX guarantees. A model of an opset
    below 18 is converted first.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        if opset_of(model) < _OLDEST_OPSET:
            model.CopyFrom(_converted(model))
        self.model = model
        self.graph = model.graph
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self._added: list[onnx.TensorProto] = []
        self._functions: set[str] = set()
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in (*node.input, *_captured(node)):
                self._consumers.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self.graph.output}
        self._taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self._taken |= {name for node in self.graph.node for name in _captured(node)}
        self._taken |= {value.name for value in self.graph.input}
        self._added_names: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}
        self._skipped: set[int] = set()
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

    def add(self, name: str, value: NDArray[np.generic]) -> str:
        """Add an initializer and return its (unique) name; the same one again is stored once."""
        key = (name, value.dtype.name, value.shape, value.tobytes())
        if key not in self._added_names:
            self._added_names[key] = self.unique(name)
            self._added.append(numpy_helper.from_array(value, self._added_names[key]))
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
        self, name: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> onnx.NodeProto:
        """Make a node that calls one of our functions."""
        self._functions.add(name)
        return helper.make_node(name, inputs, outputs, domain=DOMAIN, **attributes)

    def sole_consumer(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """Return the node that alone reads ``name``, if it is an ``op_type``."""
        users = self._consumers.get(name, [])
        if len(users) == 1 and users[0].op_type == op_type and name not in self._outputs:
            return users[0]
        return None

    def skip(self, node: onnx.NodeProto) -> None:
        """Leave out a node that has been taken into another."""
        self._skipped.add(id(node))

    def finish(self, nodes: list[onnx.NodeProto]) -> None:
        """Put the new nodes in, and drop the weights that nobody reads any more."""
        kept = [node for node in nodes if id(node) not in self._skipped]
        del self.graph.node[:]
        self.graph.node.extend(kept)
        used = {name for node in kept for name in node.input} | self._outputs
        used |= {name for node in kept for name in _captured(node)}
        # What no node read before may be an initial state that the contract names.
        used |= set(self._initializers) - set(self._consumers)
        tensors = [t for t in self.graph.initializer if t.name in used] + self._added
        dropped = set(self._initializers) - used
        inputs = [value for value in self.graph.input if value.name not in dropped]
        del self.graph.initializer[:], self.graph.input[:]
        self.graph.initializer.extend(tensors)
        self.graph.input.extend(inputs)  # old files list their initializers as inputs, too
        if not self._functions:
            return
        opset = opset_of(self.model)
        self.model.functions.extend(function(name, opset) for name in sorted(self._functions))
        self.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        self.model.ir_version = max(self.model.ir_version, 8)  # functions exist since IR version 8


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model imports; 0 if none."""
    versions = [i.version for i in model.opset_import if i.domain in ("", "ai.onnx")]
    return int(versions[0]) if versions else 0


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the model has opset {opset_of(model)} and cannot be brought to {OPSET}: {reason}; "
            f"export it with opset {_OLDEST_OPSET} or newer"
        ) from None


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node's subgraphs read, outer ones among them."""
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from inner.input
                yield from _captured(inner)
