"""Subgraphs of nodes: names that clash with those around them get others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from edgernn_exporters.onnx_nodes import subgraphs


@dataclass(frozen=True)
class Body:
    """A subgraph whose names mean nothing outside it.

    Attributes:
        nodes: In order.
        inputs: Names.
        outputs: Names; of the body's own or of values around it.
        initializers: Constants by name.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, onnx.TensorProto]


def open_body(graph: onnx.GraphProto, taken: Callable[[str], bool]) -> Body:
    """Read a subgraph.

    Args:
        graph: Not changed.
        taken: Tells whether a name means something around the subgraph.
    """
    names: dict[str, str] = {}
    for name in _defined(graph):
        fresh = name
        while taken(fresh) or fresh in names.values():
            fresh += "_"
        names[name] = fresh
    changed = {name: fresh for name, fresh in names.items() if name != fresh}
    return Body(
        nodes=tuple(_renamed(node, changed) if changed else node for node in graph.node),
        inputs=tuple(names[value.name] for value in graph.input),
        outputs=tuple(changed.get(value.name, value.name) for value in graph.output),
        initializers={names[tensor.name]: tensor for tensor in graph.initializer},
    )


def _defined(graph: onnx.GraphProto) -> list[str]:
    """Return the names that a graph gives to values of its own."""
    found = [value.name for value in (*graph.input, *graph.initializer)]
    found += [name for node in graph.node for name in node.output if name]
    return list(dict.fromkeys(found))


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy with other names, also where its subgraphs read them."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for graph in subgraphs(copy):
        own = _defined(graph)
        outer = {name: fresh for name, fresh in names.items() if name not in own}
        inner = [_renamed(item, outer) for item in graph.node]
        del graph.node[:]
        graph.node.extend(inner)
        for value in graph.output:
            value.name = outer.get(value.name, value.name)
    return copy
