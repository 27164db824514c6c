"""Turn recurrent nodes with the batch first (``layout=1``) into ordinary ones."""

from __future__ import annotations

import onnx
from onnx import helper

from edgernn_exporters.onnx_import.naming import Names
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.walking import described
from edgernn_exporters.onnx_nodes import attributes, is_standard, subgraphs

_SWAPPED = [1, 0, 2]
_INPUTS = (0, 5, 6)  # X [B, T, I], initial_h and initial_c [B, D, H]
_TO_BATCH_FIRST = ([2, 0, 1, 3], _SWAPPED, _SWAPPED)  # Y [T, D, B, H], Y_h, Y_c [D, B, H]


def time_first(model: onnx.ModelProto, notes: Notes) -> None:
    """Give every LSTM, GRU and RNN node ``layout=0`` with Transposes around it, in place.

    Of the runtimes here only ONNX's reference runs ``layout=1``.

    Args:
        model: Of any opset.
        notes: Receives a sentence for each node.
    """
    _rewrite(model.graph, Names(model), notes)


def _rewrite(graph: onnx.GraphProto, names: Names, notes: Notes) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in subgraphs(node):
            _rewrite(inner, names, notes)
        if is_standard(node, "LSTM", "GRU", "RNN") and attributes(node).get("layout", 0) == 1:
            nodes += _with_transposes(node, names)
            notes.add(f"{described(node)} had the batch first (layout=1); it is transposed now.")
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _with_transposes(node: onnx.NodeProto, names: Names) -> list[onnx.NodeProto]:
    before, after = [], []
    for place in _INPUTS:
        if place < len(node.input) and node.input[place]:
            swapped = names.unique(f"{node.input[place]}.time_first")
            before.append(
                helper.make_node("Transpose", [node.input[place]], [swapped], perm=_SWAPPED)
            )
            node.input[place] = swapped
    for place, perm in zip(range(len(node.output)), _TO_BATCH_FIRST, strict=False):
        output = node.output[place]
        if output:
            node.output[place] = names.unique(f"{output}.time_first")
            after.append(helper.make_node("Transpose", [node.output[place]], [output], perm=perm))
    kept = [entry for entry in node.attribute if entry.name != "layout"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return [*before, node, *after]
