"""Bring an ONNX model into the form that the generator reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.quantization.functions import DOMAIN
from edgernn_exporters.quantization.opset import opset_of

_FOLDED_ELEMENTS = 1 << 24
_NOT_FOLDED = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
               "Multinomial", "Bernoulli")  # fmt: skip


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with foreign functions inlined; ours stay, the C kernels know them."""
    foreign = [f for f in model.functions if f.domain != DOMAIN]
    if not foreign:
        return model
    from onnx import inliner

    names = [(function.domain, function.name) for function in foreign]
    inlined: onnx.ModelProto = inliner.inline_selected_functions(model, names, exclude=False)
    return inlined


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


def fold(
    node: onnx.NodeProto, inputs: dict[str, NDArray[Any]], model: onnx.ModelProto
) -> dict[str, NDArray[Any]] | None:
    """Compute a node whose inputs are constants, with ONNX's reference implementation.

    Returns:
        Values by name, or None if it cannot be computed here, or would be huge.
    """
    if node.op_type in _NOT_FOLDED or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "ConstantOfShape":
        sizes = inputs[node.input[0]]
        if int(np.prod(sizes)) > _FOLDED_ELEMENTS:
            return None
    names = [name for name in dict.fromkeys(node.input) if name]
    outputs = [name for name in node.output if name]
    graph = helper.make_graph(
        [node],
        "fold",
        [helper.make_value_info(name, onnx.TypeProto()) for name in names],
        [helper.make_value_info(name, onnx.TypeProto()) for name in outputs],
    )
    single = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset_of(model))],
        ir_version=model.ir_version,
    )  # fmt: skip
    try:
        values = ReferenceEvaluator(single).run(None, {name: inputs[name] for name in names})
    except Exception:  # whatever it cannot do is lowered, or refused with its own reason
        return None
    arrays = dict(zip(outputs, values, strict=True))
    if not all(isinstance(value, np.ndarray | np.generic) for value in arrays.values()):
        return None
    return {name: np.asarray(value) for name, value in arrays.items()}
