"""Nodes within the bodies of Scan, Loop and If, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from edgernn_exporters.onnx_nodes import name_of, named_subgraphs


@dataclass(frozen=True)
class Inner:
    """A node of a body.

    Attributes:
        node: The node.
        within: Where it is, such as ``cell.body``: names of nodes, and their attributes.
        constants: Initializers that it may read, by name.
        known: Names of all that can be computed before the model runs.
    """

    node: onnx.NodeProto
    within: str
    constants: Mapping[str, onnx.TensorProto]
    known: frozenset[str]


def inner_nodes(graph: onnx.GraphProto) -> Iterator[Inner]:
    """Yield the nodes of all bodies in a graph, outer ones first; not those of the graph itself.

    Example:
        >>> [item.within for item in inner_nodes(onnx.GraphProto())]
        []
    """
    for item in _nodes(graph, "", {}, frozenset()):
        if item.within:
            yield item


def _nodes(
    graph: onnx.GraphProto,
    within: str,
    outer: Mapping[str, onnx.TensorProto],
    outer_known: frozenset[str],
) -> Iterator[Inner]:
    own = {tensor.name: tensor for tensor in graph.initializer}
    hidden = {value.name for value in graph.input} - own.keys()
    constants = {**{k: v for k, v in outer.items() if k not in hidden}, **own}
    known = set(outer_known - hidden) | own.keys()
    for node in graph.node:
        bodies = list(named_subgraphs(node))
        yield Inner(node, within, constants, frozenset(known))
        if not bodies and all(name in known for name in node.input if name):
            known.update(node.output)
        for attribute, body in bodies:
            place = f"{name_of(node)}.{attribute}"
            yield from _nodes(
                body, f"{within}/{place}" if within else place, constants, frozenset(known)
            )
