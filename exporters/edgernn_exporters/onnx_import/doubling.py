"""Compute in double precision, where rounding is far below what a wrong rewrite changes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgernn_exporters.onnx_import.tracing import frozen, is_large
from edgernn_exporters.onnx_import.walking import nodes_of
from edgernn_exporters.onnx_nodes import subgraphs

TOLERANCE = 1e-9
"""Largest difference between two ways to compute the same, relative to the largest value or 1.

Measured over foreign models (DTLN with its normalization and logarithms, cells in one-frame and
whole-sequence graphs), sums in another order change float32 results by up to 1.3e-6 and float64
results by less than 2e-15. Weights may amplify that a hundred thousand times and stay below; rows
or steps that meet differ by far more, unless a weight of less than 1e-9 is all that joins them.
"""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
Array = NDArray[np.generic]


class Doubled:
    """Run a model with float64 in place of float32 and float16.

    Args:
        model: Not changed; large weights are not copied into another model.

    Raises:
        ValueError: It has a Loop, which may have no end.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._weights = {
            tensor.name: numpy_helper.to_array(tensor).astype(np.float64)
            for tensor in model.graph.initializer
            if is_large(tensor)
        }
        light = onnx.ModelProto()
        light.CopyFrom(frozen(model, None))
        if any(node.op_type == "Loop" for node in nodes_of(light)):
            raise ValueError("a Loop in it may have no end")
        _double(light.graph)
        self._names = [value.name for value in model.graph.output]
        self._evaluator = ReferenceEvaluator(light)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return all outputs.

        Args:
            feeds: Inputs, floats as float64.

        Raises:
            Exception: Whatever the evaluator or numpy raise.
        """
        with np.errstate(all="ignore"):  # a Sigmoid of large numbers overflows in its exp
            values = self._evaluator.run(self._names, {**feeds, **self._weights})
        return dict(zip(self._names, map(np.asarray, values), strict=True))


def doubled(kind: int) -> int:
    """Return the type that takes the place of one."""
    return int(TensorProto.DOUBLE) if kind in _FLOATS else kind


def drawn(rng: np.random.Generator, kind: int, shape: list[int]) -> Array:
    """Draw an input: normal numbers, or 0 and 1 where it is not of floats.

    Args:
        rng: Source of numbers.
        kind: Element type of the model.
        shape: Sizes.
    """
    dtype = helper.tensor_dtype_to_np_dtype(doubled(kind))
    value = rng.standard_normal(shape)
    return np.asarray(value if dtype.kind == "f" else value > 0, dtype)


def differ(one: Array, other: Array) -> bool:
    """Tell whether two results of the same shape are more than rounding apart."""
    exact, value = other.astype(np.float64), one.astype(np.float64)
    scale = max(1.0, float(np.abs(exact).max(initial=0)))
    return not float(np.abs(value - exact).max(initial=0)) <= TOLERANCE * scale


def _double(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.type.tensor_type.elem_type = doubled(value.type.tensor_type.elem_type)
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for node in graph.node:
        for entry in node.attribute:
            if entry.HasField("t"):
                _double_tensor(entry.t)
            elif entry.name in ("to", "dtype") and entry.type == onnx.AttributeProto.INT:
                entry.i = doubled(entry.i)
        if node.op_type == "Constant" and node.attribute[0].name in ("value_float", "value_floats"):
            value = np.array(helper.get_attribute_value(node.attribute[0]), np.float64)
            node.attribute[0].CopyFrom(
                helper.make_attribute("value", numpy_helper.from_array(value))
            )
        for inner in subgraphs(node):
            _double(inner)


def _double_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        value = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
