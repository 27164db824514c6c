"""Untie weights that an embedding and a linear layer share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from edgernn_exporters.onnx_nodes import attributes, is_standard
from edgernn_exporters.quantization.graph import captured


def untie(model: onnx.ModelProto, wanted: Callable[[onnx.NodeProto], bool]) -> None:
    """Give a MatMul that reads a constant matrix through a Transpose its own one, in place.

    Where a network says symbols by the vectors it reads them by, this leaves an embedding and a
    linear layer, each of which can be quantized. As two float matrices they would be larger than
    one, so it is done only where all that read the matrix are wanted.

    Args:
        model: The model.
        wanted: Tells whether a node that reads the matrix, turned or not, will be small.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in (*node.input, *captured(node)):
            readers.setdefault(name, []).append(node)
    outside = {value.name for value in (*graph.input, *graph.output)}
    for node in list(graph.node):
        if not is_standard(node, "Transpose") or node.input[0] not in constants:
            continue
        table, name = constants[node.input[0]], node.output[0]
        users = readers.get(name, [])
        others = [reader for reader in readers[table.name] if reader is not node]
        if (
            len(table.dims) == 2
            and attributes(node).get("perm", [1, 0]) == [1, 0]
            and outside.isdisjoint((table.name, name))
            and users
            and all(is_standard(user, "MatMul") and user.input[1] == name for user in users)
            and all(is_standard(other, "Gather") for other in others)
            and all(map(wanted, (*users, *others)))
        ):
            turned = np.ascontiguousarray(numpy_helper.to_array(table).T)
            graph.initializer.append(numpy_helper.from_array(turned, name))
            graph.node.remove(node)
            readers[table.name] = others
            if not others:
                graph.initializer.remove(table)
                del constants[table.name]
