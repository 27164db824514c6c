"""Give each value of a model a name of its own, so that nested graphs can be merged."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgernn_exporters.onnx_import.walking import graphs_of
from edgernn_exporters.onnx_nodes import subgraphs


class Names:
    """Hand out names that a model does not use yet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.taken = {name for graph in graphs_of(model) for name in _defined(graph)}
        self._count = 0

    def unique(self, name: str) -> str:
        """Return ``name``, or one like it that is free."""
        candidate = name
        while candidate in self.taken:
            self._count += 1
            candidate = f"{name}_{self._count}"
        self.taken.add(candidate)
        return candidate


def make_unique(model: onnx.ModelProto, names: Names) -> None:
    """Rename values of nested graphs, in place, so that no name is defined twice in the model.

    The outermost graph keeps its names.
    """
    seen = set(_defined(model.graph))
    for node in model.graph.node:
        for inner in subgraphs(node):
            _rename(inner, {}, seen, names)


def rename_reads(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    """Let a node and what is nested in it read other names, in place; names must be unique.

    Args:
        node: The node.
        renamed: What to read instead; that may be renamed itself.
    """
    node.input[:] = [_last(name, renamed) for name in node.input]
    for graph in subgraphs(node):
        for inner in graph.node:
            rename_reads(inner, renamed)
        for value in graph.output:
            value.name = _last(value.name, renamed)


def _last(name: str, renamed: Mapping[str, str]) -> str:
    while name in renamed:
        name = renamed[name]
    return name


def _rename(graph: onnx.GraphProto, outer: Mapping[str, str], seen: set[str], names: Names) -> None:
    local = dict(outer)
    for name in _defined(graph):
        if name in seen:
            local[name] = names.unique(name)
        else:
            seen.add(name)
            local.pop(name, None)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = local.get(value.name, value.name)
    del graph.value_info[:]
    for node in graph.node:
        node.input[:] = [local.get(name, name) for name in node.input]
        node.output[:] = [local.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            _rename(inner, local, seen, names)


def _defined(graph: onnx.GraphProto) -> dict[str, None]:
    """Return the names that a graph defines, in order, each once."""
    names = [value.name for value in (*graph.input, *graph.initializer)]
    names += [name for node in graph.node for name in node.output if name]
    return dict.fromkeys(names)
