"""Cut one node out of a graph, as a model of its own with fixed shapes and plain names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.onnx_nodes import subgraphs

Shape = tuple[int, ...]
TensorType = tuple[str, Shape]
"""Dtype and shape."""


@dataclass(frozen=True)
class SingleNode:
    """A node as a model.

    Attributes:
        model: Inputs ``in_0`` …, initializers ``const_0`` …, outputs ``out_0`` ….
        inputs: Names of the whole graph for the model's inputs, in order.
        constants: Arrays of the initializers by name in the model.
        outputs: Names of the whole graph for the model's outputs, in order.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]


def captured(node: onnx.NodeProto) -> list[str]:
    """Return the values that a node's subgraphs read from outside.

    Example:
        >>> captured(helper.make_node("Sin", ["x"], ["y"]))
        []
    """
    names = [name for graph in subgraphs(node) for name in _free(graph)]
    return list(dict.fromkeys(names))


def inner_operators(node: onnx.NodeProto) -> set[str]:
    """Return the operators of a node and of all its subgraphs."""
    inside = [inner_operators(inner) for graph in subgraphs(node) for inner in graph.node]
    return {node.op_type}.union(*inside)


def isolate(
    node: onnx.NodeProto,
    tensors: Mapping[str, TensorType],
    constants: Mapping[str, NDArray[Any]],
    model: onnx.ModelProto,
) -> SingleNode:
    """Make a model of one node.

    Args:
        node: The node; its graph's names do not reach the new model.
        tensors: Dtype and shape of each value that is computed at run time.
        constants: Values that are known.
        model: Whole model, for its operator sets.

    Raises:
        NotLoweredError: A text among its attributes holds characters that no operator needs.
    """
    _check_texts(node)
    read = list(dict.fromkeys([*(name for name in node.input if name), *captured(node)]))
    known = [name for name in read if name in constants and not _is_absent(node, name, constants)]
    fed = [name for name in read if name in tensors]
    results = [name for name in node.output if name]
    names = {"": ""}
    for prefix, group in (("in", fed), ("const", known), ("out", results)):
        names.update({name: f"{prefix}_{number}" for number, name in enumerate(group)})
    lost = [name for name in read if name not in names]  # optional inputs without elements
    copy = _renamed(node, {**names, **dict.fromkeys(lost, "")})
    arrays = {names[name]: constants[name] for name in known}
    graph = helper.make_graph(
        [copy],
        "node",
        [_value(names[name], *tensors[name]) for name in fed],
        [helper.make_value_info(names[name], onnx.TypeProto()) for name in results],
        [numpy_helper.from_array(a.copy(), name) for name, a in arrays.items()],
    )
    single = helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )
    return SingleNode(single, tuple(fed), arrays, tuple(results))


def infer_outputs(single: SingleNode) -> list[TensorType | None]:
    """Return dtype and shape of each output; None where ONNX has no rule for the operator.

    Raises:
        NotLoweredError: A size depends on values, or a result is not a tensor.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(single.model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:  # emx-onnx-cgen has rules of its own
        return [None] * len(single.outputs)
    found: list[TensorType | None] = []
    for value in inferred.graph.output:
        kind = value.type.tensor_type
        if value.type.WhichOneof("value") not in (None, "tensor_type"):
            raise NotLoweredError("its result is not a tensor")
        if not kind.elem_type or not kind.HasField("shape"):
            found.append(None)
            continue
        if not all(dim.HasField("dim_value") for dim in kind.shape.dim):
            raise NotLoweredError("the size of its result depends on values")
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        found.append((dtype, tuple(dim.dim_value for dim in kind.shape.dim)))
    return found


def declare_outputs(single: SingleNode, outputs: Iterable[tuple[str, Shape | None]]) -> None:
    """Write dtypes and shapes of the outputs into the model."""
    for value, (dtype, shape) in zip(single.model.graph.output, outputs, strict=True):
        value.CopyFrom(_value(value.name, dtype, shape))


def one_line(error: Exception) -> str:
    """Return the gist of another program's message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(" (while lowering")[0].split("InferenceError] ")[-1][:200]


def _value(name: str, dtype: str, shape: Shape | None) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)


def _is_absent(node: onnx.NodeProto, name: str, constants: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether a constant without elements stands for an optional input that is left out."""
    if constants[name].size or name not in node.input or node.domain not in ("", "ai.onnx"):
        return False
    try:
        inputs = onnx.defs.get_schema(node.op_type).inputs
    except onnx.defs.SchemaError:
        return False
    places = [place for place, item in enumerate(node.input) if item == name]
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return all(place < len(inputs) and inputs[place].option == optional for place in places)


def _check_texts(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        for text in (attribute.s, *attribute.strings):
            if not all(32 <= byte < 127 and byte not in b"*/\\\"'?" for byte in text):
                raise NotLoweredError(f"its attribute {attribute.name!r} holds unusual characters")
    for graph in subgraphs(node):
        for inner in graph.node:
            _check_texts(inner)


def _free(graph: onnx.GraphProto) -> list[str]:
    """Return what a graph reads but does not define."""
    defined = {value.name for value in (*graph.input, *graph.initializer)}
    free = []
    for node in graph.node:
        free += [name for name in (*node.input, *captured(node)) if name and name not in defined]
        defined.update(node.output)
    return free + [value.name for value in graph.output if value.name not in defined]


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """Return a copy with other names, also within subgraphs; ``names`` grows by those."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("name")
    copy.ClearField("doc_string")
    del copy.metadata_props[:]
    copy.input[:] = [_name(names, name) for name in node.input]
    copy.output[:] = [_name(names, name) for name in node.output]
    while len(copy.input) and not copy.input[-1]:
        del copy.input[-1]
    for graph in subgraphs(copy):
        graph.name = "body"
        graph.ClearField("doc_string")
        del graph.metadata_props[:]
        del graph.value_info[:]
        for value in (*graph.input, *graph.initializer):
            value.name = _name(names, value.name)
            value.ClearField("doc_string")
        inner = [_renamed(item, names) for item in graph.node]
        del graph.node[:]
        graph.node.extend(inner)
        for value in graph.output:
            value.name = _name(names, value.name)
            value.ClearField("doc_string")
    return copy


def _name(names: dict[str, str], name: str) -> str:
    return names.setdefault(name, f"inner_{len(names)}")
