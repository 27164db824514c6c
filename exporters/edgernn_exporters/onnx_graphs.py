"""Compute constants and inline functions of ONNX graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.onnx_nodes import STANDARD
from edgernn_exporters.quantization.functions import DOMAIN
from edgernn_exporters.quantization.opset import opset_of

FOLDED_ELEMENTS = 1 << 24
_NOT_FOLDED = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
               "Multinomial", "Bernoulli",
               "LSTM", "GRU", "RNN")  # fmt: skip # the reference leaves out most attributes
# Shape inference does not know how much these give, but it is no more than they take.
_BOUNDED = ("NonZero", "Unique", "Compress")
_SMALL_ELEMENTS = 1024


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with foreign functions inlined; ours stay, they stand for kernels in C."""
    foreign = [f for f in model.functions if f.domain != DOMAIN]
    if not foreign:
        return model
    from onnx import inliner

    names = [(function.domain, function.name) for function in foreign]
    result: onnx.ModelProto = inliner.inline_selected_functions(model, names, exclude=False)
    return result


def folded_elements(
    node: onnx.NodeProto, inputs: dict[str, NDArray[Any]], model: onnx.ModelProto
) -> int | None:
    """Return how many elements a node with constant inputs gives, without computing it.

    Returns:
        The size of the largest output, or None if it is not known.
    """
    if node.op_type in _BOUNDED:
        return sum(array.size * max(1, array.ndim) for array in inputs.values())
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in inputs.items()
    ]
    small = [
        numpy_helper.from_array(array, name)
        for name, array in inputs.items()
        if array.size <= _SMALL_ELEMENTS
    ]
    outputs = [name for name in node.output if name]
    single = _single(node, model, values, outputs, small)
    try:
        found = onnx.shape_inference.infer_shapes(single, data_prop=True).graph.output
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return None
    sizes = []
    for value in found:
        kind = value.type.tensor_type
        dims = list(kind.shape.dim)
        if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
            return None
        sizes.append(math.prod(dim.dim_value for dim in dims))
    return max(sizes, default=0)


def fold(
    node: onnx.NodeProto,
    inputs: dict[str, NDArray[Any]],
    model: onnx.ModelProto,
    elements: int | None = None,
) -> dict[str, NDArray[Any]] | None:
    """Compute a node whose inputs are constants, with ONNX's reference implementation.

    Args:
        node: Without subgraphs.
        inputs: The constants by name.
        model: Where the node is from.
        elements: What `folded_elements` says of it, where the caller has asked.

    Returns:
        Values by name, or None if it cannot be computed here, or would be huge.
    """
    if node.op_type in _NOT_FOLDED or node.domain not in STANDARD:
        return None
    size = folded_elements(node, inputs, model) if elements is None else elements
    if size is None or size > FOLDED_ELEMENTS:
        return None
    values = [helper.make_value_info(name, onnx.TypeProto()) for name in inputs]
    outputs = [name for name in node.output if name]
    single = _single(node, model, values, outputs)
    try:
        with np.errstate(all="ignore"):  # infinity is a value, too
            results = ReferenceEvaluator(single).run(None, inputs)
    except Exception:  # whatever it cannot do is lowered, or refused with its own reason
        return None
    arrays = dict(zip(outputs, results, strict=True))
    if not all(isinstance(value, np.ndarray | np.generic) for value in arrays.values()):
        return None
    return {name: np.asarray(value) for name, value in arrays.items()}


def _single(
    node: onnx.NodeProto,
    model: onnx.ModelProto,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[str],
    constants: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    """Return a model of one node."""
    results = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
    graph = helper.make_graph([node], "fold", inputs, results, constants or [])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset_of(model))],
        ir_version=model.ir_version,
    )  # fmt: skip
