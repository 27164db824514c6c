"""Read and edit graphs: what nodes read, unique names, order, and what nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import numpy_helper

from edgernn_exporters.onnx_import.naming import rename_reads
from edgernn_exporters.onnx_import.walking import nodes_in
from edgernn_exporters.onnx_nodes import is_standard, name_of, subgraphs

RECURRENT = ("LSTM", "GRU", "RNN")


def label(node: onnx.NodeProto) -> str:
    """Return how messages name a node."""
    return f"{node.op_type} {name_of(node)}"


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node or its subgraphs read."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        yield from (value.name for value in graph.output)
        for inner in graph.node:
            yield from reads(inner)


def before(producers: Mapping[str, onnx.NodeProto], name: str, *op_types: str) -> str:
    """Return what a value is the first input of, through nodes of these operators."""
    while name in producers and is_standard(producers[name], *op_types):
        name = str(producers[name].input[0])
    return name


def ancestors(nodes: Iterable[onnx.NodeProto], names: Iterable[str]) -> set[str]:
    """Return the names that these values depend on, themselves among them."""
    producers = {name: node for node in nodes for name in node.output if name}
    found, pending = set(names), list(names)
    while pending:
        node = producers.get(pending.pop())
        new = set(reads(node)) - found if node is not None else set()
        found |= new
        pending.extend(new)
    return found


def ordered(nodes: list[onnx.NodeProto]) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Return the nodes, each behind those it reads, and those that are on or behind a cycle."""
    made = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    waits = [{made[name] for name in reads(node) if name in made} for node in nodes]
    readers: dict[int, list[int]] = {}
    for at, needed in enumerate(waits):
        for other in needed:
            readers.setdefault(other, []).append(at)
    ready = [at for at, needed in enumerate(waits) if not needed]
    done: list[int] = []
    for at in ready:  # grows while it is read
        done.append(at)
        for reader in readers.get(at, []):
            waits[reader].discard(at)
            if not waits[reader]:
                ready.append(reader)
    late = set(range(len(nodes))) - set(done)
    return [nodes[at] for at in done], [nodes[at] for at in sorted(late)]


class Editor:
    """Add nodes, constants, inputs and outputs to a model's graph, and clean up behind.

    Args:
        model: Changed in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self._taken = {name for node in nodes_in(self.graph.node) for name in node.output}
        self._taken |= {name for node in self.graph.node for name in reads(node)}
        self._taken |= {node.name for node in self.graph.node}
        self._taken |= {e.name for e in (*self.graph.input, *self.graph.initializer)}
        self._taken |= {value.name for value in self.graph.output}

    def unique(self, name: str) -> str:
        """Return a name that the graph does not use, and take it."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate

    def constant(self, name: str, value: ArrayLike) -> str:
        """Add an initializer and return its name."""
        unique = self.unique(name)
        self.graph.initializer.append(numpy_helper.from_array(np.array(value), unique))
        return unique

    def rename(self, name: str, other: str) -> None:
        """Give a value that a node makes another name, wherever it is read."""
        for node in self.graph.node:
            node.output[:] = [other if made == name else made for made in node.output]
            rename_reads(node, {name: other})

    def drop_input(self, name: str) -> None:
        """Remove a graph input."""
        kept = [value for value in self.graph.input if value.name != name]
        del self.graph.input[:]
        self.graph.input.extend(kept)

    def drop_output(self, name: str) -> None:
        """Remove a graph output."""
        kept = [value for value in self.graph.output if value.name != name]
        del self.graph.output[:]
        self.graph.output.extend(kept)

    def clean(self) -> None:
        """Drop what no output depends on, except inputs, and put the nodes in order."""
        wanted = ancestors(self.graph.node, [value.name for value in self.graph.output])
        before = {name for node in self.graph.node for name in reads(node)}
        nodes = [node for node in self.graph.node if not wanted.isdisjoint(node.output)]
        sound, cyclic = ordered(nodes)
        assert not cyclic, "callers keep the graph free of cycles"
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(sound)
        # One by one, because adding weights again would copy them; what no node read before may
        # be a first value.
        for at in reversed(range(len(self.graph.initializer))):
            name = self.graph.initializer[at].name
            if name not in wanted and name in before:
                del self.graph.initializer[at]
