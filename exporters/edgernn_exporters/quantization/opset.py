"""Bring a model to a newer opset."""

from __future__ import annotations

import onnx
from onnx import helper, version_converter

from edgernn.errors import ModelError

_LARGE_BYTES = 1024


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model imports; 0 if none."""
    versions = [i.version for i in model.opset_import if i.domain in ("", "ai.onnx")]
    return int(versions[0]) if versions else 0


def at_least(model: onnx.ModelProto, opset: int) -> None:
    """Convert a model of an opset below ``opset`` in place.

    Large constants are put aside for that: the converter copies a model several times.

    Raises:
        ModelError: It cannot be converted.
    """
    if opset_of(model) >= opset:
        return
    small = _without_large_constants(model)
    try:
        converted = version_converter.convert_version(small, opset)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the model has opset {opset_of(model)} and cannot be brought to {opset}: {reason}; "
            f"export it with opset {opset} or newer"
        ) from None
    graph = model.graph
    for place in reversed(range(len(graph.initializer))):
        if not _is_large(graph.initializer[place]):
            del graph.initializer[place]
    graph.initializer.extend(converted.graph.initializer)
    del graph.node[:], graph.value_info[:], model.opset_import[:]
    graph.node.extend(converted.graph.node)
    model.opset_import.extend(converted.opset_import)
    needed = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    model.ir_version = max(model.ir_version, needed)


def _without_large_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with its large constants as inputs."""
    graph = model.graph
    given = {value.name for value in graph.input}
    inputs = [
        *graph.input,
        *(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
          for t in graph.initializer if _is_large(t) and t.name not in given),
    ]  # fmt: skip
    small = helper.make_graph(
        list(graph.node), graph.name, inputs, list(graph.output),
        [t for t in graph.initializer if not _is_large(t)],
    )  # fmt: skip
    return helper.make_model(
        small,
        ir_version=model.ir_version,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
    )


def _is_large(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.ByteSize() > _LARGE_BYTES)
