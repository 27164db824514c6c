"""Bring an ONNX model into the form that the generator reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def with_output_shapes(model: onnx.ModelProto, fixed: Mapping[str, int]) -> onnx.ModelProto:
    """Return a model without a contract, its dynamic axes replaced and its outputs' sizes inferred.

    Args:
        model: Any model.
        fixed: Sizes of dynamic axes by name.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in fixed:
                dim.dim_value = fixed[dim.dim_param]
    try:
        inferred = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return copy  # sizes that stay unknown are refused with their names
    for value, found in zip(copy.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(found)
    return copy


def initializers(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return the constants that the graph holds."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
