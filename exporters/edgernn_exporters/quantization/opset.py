"""Bring a model to a newer opset."""

from __future__ import annotations

import onnx
from onnx import helper, version_converter

from edgernn.errors import ModelError, first_line
from edgernn_exporters.onnx_light import is_large, without_large_constants
from edgernn_exporters.onnx_nodes import STANDARD, subgraphs


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model imports; 0 if none."""
    versions = [i.version for i in model.opset_import if i.domain in STANDARD]
    return int(versions[0]) if versions else 0


def at_least(model: onnx.ModelProto, opset: int) -> None:
    """Convert a model of an opset below ``opset`` in place.

    Large constants are put aside for that: the converter copies a model several times.

    Raises:
        ModelError: It cannot be converted.
    """
    before = opset_of(model)
    if before >= opset:
        return
    small = without_large_constants(model)
    try:
        converted = version_converter.convert_version(small, opset)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = first_line(error)
        raise ModelError(
            f"the model has opset {opset_of(model)} and cannot be brought to {opset}: {reason}; "
            f"export it with opset {opset} or newer"
        ) from None
    graph = model.graph
    for place in reversed(range(len(graph.initializer))):
        if not is_large(graph.initializer[place]):
            del graph.initializer[place]
    graph.initializer.extend(converted.graph.initializer)
    del graph.node[:], graph.value_info[:], model.opset_import[:]
    graph.node.extend(converted.graph.node)
    _mend(graph, before, opset)
    model.opset_import.extend(converted.opset_import)
    needed = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    model.ir_version = max(model.ir_version, needed)


def _mend(graph: onnx.GraphProto, before: int, opset: int) -> None:
    """Put right what the converter of onnx 1.23 gets wrong, in place."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in subgraphs(node):
            _mend(inner, before, opset)
        if node.op_type == "Resize" and before < 11 <= opset:
            # Upsample and Resize of opset 10 had no such attributes, and computed in this way.
            node.attribute.append(
                helper.make_attribute("coordinate_transformation_mode", "asymmetric")
            )
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))
        if node.op_type == "Hardmax" and before < 13 <= opset:
            nodes += _flat_hardmax(node)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _flat_hardmax(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return what ``Hardmax`` was before opset 13: over all axes from ``axis`` on, as one."""
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
    x, y = node.input[0], node.output[0]
    return [
        helper.make_node("Shape", [x], [f"{y}.shape"]),
        helper.make_node("Flatten", [x], [f"{y}.flat"], axis=axis),
        helper.make_node("Hardmax", [f"{y}.flat"], [f"{y}.hard"], axis=-1, name=node.name),
        helper.make_node("Reshape", [f"{y}.hard", f"{y}.shape"], [y]),
    ]
