"""Walk over the graphs, nodes and tensors of a model, nested ones included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from edgernn_exporters.onnx_nodes import name_of, subgraphs


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those nested in it, outer ones first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs_in(inner)


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph of a model and those nested in it or in its functions."""
    yield from graphs_in(model.graph)
    for function in model.functions:
        for node in function.node:
            for inner in subgraphs(node):
                yield from graphs_in(inner)


def nodes_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes, each before those nested in it."""
    for node in nodes:
        yield node
        for inner in subgraphs(node):
            yield from nodes_in(inner.node)


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes: of functions and of the graph, nested ones included."""
    for function in model.functions:
        yield from nodes_in(function.node)
    yield from nodes_in(model.graph.node)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all dense tensors: initializers and attributes."""
    for graph in graphs_of(model):
        yield from graph.initializer
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def sparse_of(model: onnx.ModelProto) -> Iterator[onnx.SparseTensorProto]:
    """Yield all sparse tensors: initializers and attributes."""
    for graph in graphs_of(model):
        yield from graph.sparse_initializer
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors


def described(node: onnx.NodeProto) -> str:
    """Return what to call a node in messages: operator and name, or its first output."""
    return f"{node.op_type} node {name_of(node)!r}"
