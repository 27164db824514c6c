"""Casts between number types, and linear quantization of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.expressions import expression
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import C_TYPES, Constant, Symbolic

Numbers = NDArray[Any]


def cast(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Cast to the type that an attribute names."""
    to = int(attributes_of(node)["to"])
    if to not in _NAMES:
        raise NotLoweredError(f"it casts to {onnx.TensorProto.DataType.Name(to)}")
    _cast(lowering, node, _NAMES[to])


def cast_like(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Cast to the type of another value."""
    _cast(lowering, node, lowering.value(node.input[1]).dtype)


def _cast(lowering: Lowering, node: onnx.NodeProto, to: str) -> None:
    """Cast as C does; floats out of an integer's range give the nearest one that fits."""
    name = node.input[0]
    value = lowering.value(name)
    if isinstance(value, Symbolic) and to in ("int64", "int32"):
        lowering.define(node.output[0], Symbolic(value.values, value.shape, to))
        return
    if value.dtype == to:
        lowering.define(node.output[0], value)
        return
    if to not in C_TYPES or value.dtype not in C_TYPES:
        raise NotLoweredError(f"it casts {value.dtype} to {to}")
    code = f"({C_TYPES[to]})({{0}})"
    if to == "bool":
        code = "({0}) != 0"
    elif value.dtype == "float32" and to != "float64":
        wide = "int64" if to in ("int64", "uint32", "uint64") else "int32"
        code = f"({C_TYPES[to]})edgernn_to_{wide}({{0}})"
    expression(lowering, node, code, [name], dtype=to)


def quantize(lowering: Lowering, node: onnx.NodeProto) -> None:
    """QuantizeLinear to 8 or 16 bits with constant scale and zero point, for all or for an axis."""
    rank = len(lowering.shape(node.input[0]))
    attributes = attributes_of(node)
    zero = _zero_point(lowering, node, np.zeros((), np.uint8))
    if zero.dtype.name not in _RANGES or lowering.value(node.input[0]).dtype != "float32":
        raise NotLoweredError(f"it quantizes to {zero.dtype.name}")
    names = _along_axis(lowering, node, zero.astype(np.int32), rank, attributes)
    low, high = _RANGES[zero.dtype.name]
    code = f"edgernn_quantize({{0}}, {{1}}, {{2}}, {low}, {high})"
    expression(lowering, node, code, [node.input[0], *names], dtype=zero.dtype.name)


def dequantize(lowering: Lowering, node: onnx.NodeProto) -> None:
    """DequantizeLinear with constant scale and zero point, for all or for an axis."""
    rank = len(lowering.shape(node.input[0]))
    dtype = lowering.value(node.input[0]).dtype
    if dtype not in (*_RANGES, "int32"):
        raise NotLoweredError(f"it dequantizes {dtype}")
    zero = _zero_point(lowering, node, np.zeros((), dtype)).astype(np.int32)
    names = _along_axis(lowering, node, zero, rank, attributes_of(node))
    code = "(float)({0} - {2}) * {1}"
    expression(lowering, node, code, [node.input[0], *names], dtype="float32")


def _zero_point(lowering: Lowering, node: onnx.NodeProto, default: Numbers) -> Numbers:
    if len(node.input) > 2 and node.input[2]:
        return lowering.require_constant(node.input[2], "zero point")
    return default


def _along_axis(
    lowering: Lowering,
    node: onnx.NodeProto,
    zero: Numbers,
    rank: int,
    attributes: dict[str, int],
) -> list[str]:
    """Define scale and zero point in a shape that broadcasts; return their names."""
    scale = lowering.require_constant(node.input[1], "scale")
    if scale.dtype != np.float32:
        raise NotLoweredError(f"its scale is {scale.dtype.name}")
    if attributes.get("block_size", 0) or scale.ndim > 1 or attributes.get("output_dtype", 0):
        raise NotLoweredError("it quantizes in blocks, or to a type of its own")
    names = []
    for name, array in (("scale", scale), ("zero", zero)):
        shape: tuple[int, ...] = ()
        if array.size > 1:
            axis = int(attributes.get("axis", 1)) % rank
            shape = (int(array.size),) + (1,) * (rank - 1 - axis)
        key = f"{node.output[0]} {name}"
        lowering.define(key, Constant(array.reshape(shape)))
        names.append(key)
    return names


_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
_NAMES = {
    int(kind): onnx.helper.tensor_dtype_to_np_dtype(kind).name
    for kind in (
        onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL,
        onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32,
        onnx.TensorProto.INT64, onnx.TensorProto.UINT8, onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT32, onnx.TensorProto.UINT64,
    )
}  # fmt: skip

Lower = Callable[[Lowering, onnx.NodeProto], None]

LOWERINGS: dict[str, Lower] = {
    "Cast": cast,
    "CastLike": cast_like,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
}
