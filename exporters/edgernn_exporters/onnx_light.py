"""Copy models without their weights, for what only looks at nodes and shapes."""

from __future__ import annotations

import onnx
from onnx import helper

_LARGE_BYTES = 1024


def without_large_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with its large constants as inputs, and without inner shapes."""
    graph = model.graph
    given = {value.name for value in graph.input}
    inputs = [
        *graph.input,
        *(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
          for t in graph.initializer if is_large(t) and t.name not in given),
    ]  # fmt: skip
    small = helper.make_graph(
        list(graph.node), graph.name, inputs, list(graph.output),
        [t for t in graph.initializer if not is_large(t)],
    )  # fmt: skip
    return helper.make_model(
        small,
        ir_version=model.ir_version,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
    )


def is_large(tensor: onnx.TensorProto) -> bool:
    """Tell whether `without_large_constants` leaves a constant out."""
    return bool(tensor.ByteSize() > _LARGE_BYTES)
