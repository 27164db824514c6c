"""Infer the shapes in a model without copying its weights."""

from __future__ import annotations

import onnx

from edgernn_exporters.onnx_light import without_large_constants


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """Return a copy of the graph with inferred shapes; large constants are inputs in it.

    What the file itself says of its inner values is not trusted. Where inference fails, nothing
    is known of them.
    """
    small = without_large_constants(model)
    try:
        return onnx.shape_inference.infer_shapes(small, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return small.graph


def shapes_in(graph: onnx.GraphProto) -> dict[str, list[int | str | None]]:
    """Return the shapes of the values of a graph, nested ones not included.

    Returns:
        By name, for values of known rank: a size, the name of a dynamic axis, or None.
    """
    found: dict[str, list[int | str | None]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            found[value.name] = [
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                for dim in value.type.tensor_type.shape.dim
            ]
    for tensor in graph.initializer:
        found[tensor.name] = list(tensor.dims)
    return found


def types_in(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the element types of the values of a graph."""
    found = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}
